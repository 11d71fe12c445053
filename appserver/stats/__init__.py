"""Statistics, in the form of uWSGI's stats server: what is counted, and who is told."""
