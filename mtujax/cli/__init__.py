"""The commands: their options, exit statuses and error lines."""
