"""What is offered for a product now."""
