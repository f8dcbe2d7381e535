"""A simulated city whose truth is known: logs with ordinary tables, and why everything in them happened."""

from hemix.world.knobs import Knobs, knobs_from
from hemix.world.world import Outcomes, Response, World
from hemix.world.write import write_world

__all__ = ["Knobs", "Outcomes", "Response", "World", "knobs_from", "write_world"]
