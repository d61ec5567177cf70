"""What every service is built of: a closed list of modules, each of which at least two services need."""
