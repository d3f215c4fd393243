"""Constraints on answers: texts of schemas and grammars, and the masks that llguidance computes of them."""
