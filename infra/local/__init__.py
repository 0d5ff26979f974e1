"""Kafka, Redis and the platform's own workers on one machine, without Docker."""
