"""The emoji world: pictures drawn by a program from factors whose probabilities are known."""

from sgm_lightning.world.drawing import draw
from sgm_lightning.world.reader import EmojiReader, Reading
from sgm_lightning.world.scenes import Scenes, scenes
from sgm_lightning.world.tables import FACTORS, World, caption, is_held_out

__all__ = ["FACTORS", "EmojiReader", "Reading", "Scenes", "World", "caption", "draw", "is_held_out", "scenes"]
