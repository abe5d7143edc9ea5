"""What an article on "DeepSeek's second-generation MoE" says, claim by claim, each with a test.

Chapter 19 puts these claims to the test; until then they stand here with their code and their
tests. A module per part of the article.
"""
