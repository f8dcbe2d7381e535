"""What a model looked at: one score, two scores compared, or the model as a whole.

>>> from hemix.explain import explain_model, explain_request  # explain_request(run, "user=7").explained[0].fields
"""

from hemix.explain.model import explain_model
from hemix.explain.request import explain_request

__all__ = ["explain_model", "explain_request"]
