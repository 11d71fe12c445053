"""Static files, served before the application is asked."""
