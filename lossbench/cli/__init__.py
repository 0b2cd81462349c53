"""The command line: each command parses, calls one function and prints.

The only place with imports inside functions: a command pays for what it uses, so that `--help`,
`list`, `show`, `validate` and `runs` start in a fraction of a second, without torch.
"""
