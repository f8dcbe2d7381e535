"""A commented experiment file, drafted from a user's own tables."""

from hemix.data.draft.draft import draft, write_draft

__all__ = ["draft", "write_draft"]
