"""The local stack: which processes it has, where their data live, and how they are started, watched and stopped."""
