"""What the controller and the agent say to each other, for both ends.

Owns frames (:mod:`.frames`), the sans-IO connection (:mod:`.connection`) and the messages
(:mod:`.instance`, :mod:`.messages`). Standard library only, no I/O, python 3.9: the whole folder
is bundled into the agent. It must not know anything else of this program.
"""
