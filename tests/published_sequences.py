"""The data sets of InterFormer's table in miniature, as their published files: 400 rows, the right columns."""

import io
import random

import numpy as np

ROWS = 400
NUM_USERS = 10


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def cut(values: list[int]) -> str:
    return "^".join(map(str, values))


def amazon() -> dict[str, bytes]:
    """50 users of 5 reviews each: eight rows of each, as DIN makes them; items 0-29 of category item % 4."""
    dice = random.Random(1)
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for user in range(ROWS // 8):
        reviews = dice.sample(range(30), 5)
        for position in range(1, 5):
            drawn = dice.choice([item for item in range(30) if item not in reviews])
            history = reviews[:position]
            for label, item in ((1, reviews[position]), (0, drawn)):
                kinds = cut([of % 4 for of in history])
                row = f"{label},{user},{item},{item % 4},{cut(history)},{kinds}"
                rows["test" if position == 4 else "train"].append(row)
    dice.shuffle(rows["train"])
    header = "label,user_id,item_id,cate_id,item_history,cate_history"
    return {f"{part}.csv": text(header, *lines) for part, lines in rows.items()}


def taobao() -> dict[str, bytes]:
    """Ads 1-20 shown to 10 users from 6 to 13 May, an hour of each day; user 9 has no profile."""
    dice = random.Random(2)
    samples, log = ["user,time_stamp,adgroup_id,pid,nonclk,clk"], ["user,time_stamp,btag,cate,brand"]
    for number in range(ROWS):
        time = 1_494_000_000 + 86_400 * (number % 8) + 10 * number
        click = dice.randrange(3) // 2
        pid = f"430{dice.choice([548, 539])}_1007"
        samples.append(f"{dice.randrange(NUM_USERS)},{time},{dice.randrange(1, 21)},{pid},{1 - click},{click}")
        for back in range(3):
            action = dice.choice(["pv", "cart", "fav", "buy"])
            log.append(
                f"{dice.randrange(NUM_USERS)},{time - 3_000 * back},{action},{dice.randrange(4)},{dice.randrange(6)}"
            )
    ads = [f"{n},{n % 4},{n % 7},{n % 5},{'NULL' if n == 3 else n % 6},{9.5 * n}" for n in range(1, 21)]
    users = [
        f"{n},{n % 3},{n % 4},{1 + n % 2},{n % 6},{'' if n == 2 else 1 + n % 3},3,0,{n % 4 or ''}" for n in range(9)
    ]
    profile = "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation"
    return {
        "raw_sample.csv": text(*samples),
        "ad_feature.csv": text("adgroup_id,cate_id,campaign_id,customer,brand,price", *ads),
        "user_profile.csv": text(f"{profile},new_user_class_level ", *users),
        "behavior_log.csv": text(*log),
    }


def kuaivideo() -> dict[str, bytes]:
    """40 videos shown to each of 10 users, the last eight in the test part; lists of at most 6 ids, the first ones."""
    dice = random.Random(3)
    rows: dict[str, list[tuple[int, str]]] = {"train": [], "test": []}
    for user in range(NUM_USERS):
        clicked: list[int] = []
        passed: list[int] = []
        for number, video in enumerate(dice.sample(range(50), ROWS // NUM_USERS)):
            time, click = 100 * number + user, dice.randrange(2)
            lists = f"{cut(clicked[:6])},{cut(passed[:6])}"
            part = "test" if number >= 32 else "train"
            rows[part].append((time, f"{time},{user},{video},{click},{click * dice.randrange(2)},0,{lists}"))
            (clicked if click else passed).append(video)
    header = "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items"
    files = {f"{part}.csv": text(header, *(row for _, row in sorted(lines))) for part, lines in rows.items()}
    return files | {"visual64_select.npy": array(50)}


def array(num_videos: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(4).normal(size=(num_videos, 64)).astype(np.float32))
    return stream.getvalue()
