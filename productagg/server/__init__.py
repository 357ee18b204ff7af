"""The web server: waitress with our error format, request checks, several processes and an orderly shutdown."""
