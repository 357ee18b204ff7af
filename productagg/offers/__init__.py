"""What is offered for a product now, and what that costs."""
