"""Answers from the tenant's own documents: finds passages, asks a model, cites what it used."""
