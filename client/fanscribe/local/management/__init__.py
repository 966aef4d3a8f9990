"""The management API of the platform: REST v2 and GraphQL over one account.

`records` is what an account holds, `account` the rules by which it changes (no I/O), `catalogue` the graphics
cards and processors it knows, `deployment` how a record becomes a running endpoint, `store` how an account is
kept. Around them lie two faces: `bodies`, `views` and `rest`, and `schema` and `graphql`. Their libraries are
loaded with the first call that needs them.
"""
