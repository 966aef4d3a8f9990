"""A simulated engine family, for load and fault tests: it recognises no speech, only audio of its own making.

`coded` is the sound: words and their speakers written into the samples, so that what an engine of this family
answers is a pure function of the span it was given, and a word lost or doubled at a seam shows as such.
`recording` makes such audio of any length and knows what is in it, `behaviour` says how long work takes and
when it fails, `engine` puts these together behind the protocol of every family. `workers` and `fleet` are many
simulated workers in one process, for loads that real worker processes could not fairly start on one machine.
"""
