"""What an article on "DeepSeek's second-generation MoE" says, statement by statement, each tested.

ledger/                the statements, their verdicts, and where each is tested
ledger_view/           the ledger as a widget
masked_words.py, mixture_gradient.py   what the tests of its formulas need
"""
