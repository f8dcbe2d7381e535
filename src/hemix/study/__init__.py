"""Many runs as one question: the ledger that they write, and the tables made from it."""
