"""What hostile fronts and clients send: one test for each case of docs/security/."""
