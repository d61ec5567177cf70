"""The payment providers: how each is called, and what its reports mean in our words. Decides nothing about credits."""
