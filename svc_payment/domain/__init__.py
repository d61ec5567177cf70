"""The pure rules of payment: the words of the ledger, what is sold, and what a payment does. No I/O, clock or randomness."""
