"""What every endpoint of the API is built with."""
