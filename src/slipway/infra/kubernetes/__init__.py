"""Manifests of Kubernetes as typed Python: values in, documents out. ADR 18 says why, and how they get there.

No CDK here: whatever CloudFormation fills in later is a text like any other.
"""
