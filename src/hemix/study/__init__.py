"""Many runs as one question: a study file, its runs in processes of their own, and the tables and pictures of them.

load_study(file)        config.py, cells.py    what is asked; every cell validated before anything runs
open_stores             stores.py              each data section prepared once
plan                    plan.py                what the ledger lacks
price                   costs.py               what that will take
Runner                  runner.py, worker.py   processes, logs, progress
best_trial              search.py              trials on the validation split, at random or
propose                 optuna_search.py       by Optuna, which learns from earlier ones and prunes
write_report            report.py, scaling.py, pictures.py, tables.py
"""
