"""Images as artifacts: content addresses, builds, layers, and how they get to a host.

Owns the build context (:mod:`.context`, :mod:`.ignore`), the parents of a Dockerfile
(:mod:`.dockerfile`), the address of a build (:mod:`.digest`), the graph of images (:mod:`.dag`), the
store on this machine (:mod:`.store`), building (:mod:`.builder`) and layers on their way to a host
(:mod:`.source`, :mod:`.shipping`). It must not know services, placement or rollouts.
"""
