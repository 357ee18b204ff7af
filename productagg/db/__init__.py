"""The database: tables, engines, sessions, and how statements are sent."""
