"""What tests share.

Where to look:

Guards and judges
    guards           keep unit tests from engines, networks and each other
    golden           holds what users see to the files of tests/golden
    house            reads modules, imports and sizes of builder for the law and for `make shape`

Values
    clock            a clock that stands still until somebody waits
    decisions        decisions of a plan, with what does not matter filled in
    story            one run with a bit of everything, as events
    tree             small trees of Dockerfiles, written into a folder
    seed             a tree in the shape of the 2016 OpenContrail repository
    dockerfiles      odd Dockerfiles, bases and contexts, drawn by a seed
    trees            file trees of layers, and what an engine exports
    images           small images for registries, never the same twice
    releases         whole releases of such images, published by the client

What only pretends (tests/contract holds it to the real thing)
    engines          engines and their images; besides, what tests of the real ones need
    memory_registry  a registry whose bytes can be looked at
    marks            the tags by which runs claim a namespace, with time of their own
    web              an HTTP server that says what a real one cannot be made to say

What is real
    service          the `with` block of all that is started and closed
    registry         the distribution project's registry, and what is missing on this machine
    secure_registry  the same with TLS, tokens, or readers that are sent elsewhere
    token_server     who gives such tokens
    certificates     a certificate authority by openssl
    relay            makes the loopback reachable at another address
    client           clients of registries without the logins of this machine
    aptrepo          an apt repository that builds reach
    second_engine    a Docker Engine with the containerd image store
    hosts            Docker Engines in network namespaces, on one wire
    ssh              such a host, reached by ssh
    yard             where the engine `assembler` makes images and stores them
    signalled        a program that runs until it gets a signal
    containers       containers of the published images
    identity         keystone of those, with its database and a client
"""
