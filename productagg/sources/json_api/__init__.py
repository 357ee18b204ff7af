"""JSON over HTTP, understood by expressions that the source's configuration states (JMESPath, jmespath.org)."""
