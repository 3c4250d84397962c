"""What `--help` shows below each command's options."""

from __future__ import annotations

EXAMPLES = {
    "demo": """\
examples:
  karec demo                                        a synthetic karaoke platform: 300,000 works, 1,500 users
  karec demo --report out                           … and out/report.html to look at, out/report.json to compute with
  karec demo --scene all                            … and eight scenes beside home: live rooms, songs, creators, …
  karec demo --data kuairand --root KuaiRand-Pure/data
  karec demo --works 20000 --users 2000 --exposures 50000 --requests 20      a minute's smoke""",
    "train": """\
examples:
  karec train --data kuairand --root KuaiRand-Pure/data --out run7
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --settings train.toml
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --settings train.toml --resume    after a kill
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --log run7/rank_log    learn from what was served
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --log run7/rank_log --events run7/karec.toml \\
      --publish-if-no-worse 0.005        … and from the online store; published if it is no worse, else exit status 3
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --choose 30       try settings first, 30 minutes
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --signing-key publisher.pem   sign the bundle
  karec recommend --config run7/karec.toml --user 712

train.toml, all keys optional (docs/training.md lists them, and says how to choose):
  seed = 0
  [ranker]
  kind = "mmoe"            # or "lr", "lightgbm", "both"
  [towers]
  kind = "full"            # or "static": no counters and rates, for item vectors that are refreshed rarely
  [distil]
  recipe = "list"          # or hard, model-distillation, feature-distillation, pools, retrieval: which losses
                           # teach the towers
  soft_weight = 0.8        # any key of the recipe may be overruled

Trains the ranker, writes the rank log, distils the towers from it, refreshes the item index and publishes a bundle:
  OUT/run/        models, encoder, run.json, quality.json, curves.svg, checkpoints/
  OUT/bundles/    the published bundle, `current` names it
  OUT/karec.toml  the cascade that serves it; edit it as you like: it is written once and kept

With --log, the towers of OUT/run (or --run) learn on from the log of the ranker that served, into OUT/run-VERSION.""",
    "lab": """\
examples:
  karec lab simulate --arms prerank --out loop             days of a simulated platform, in a closed loop
  karec lab recall --config karec-demo-world/karec.toml    what does recall find of a user's favourites?
  karec lab export-library library --works 1000000         made-up uploads to screen

Needs the extra lab: pip install 'karec[lab]'. Trainings need the extra train too.""",
    "simulate": """\
examples:
  karec lab simulate --arms prerank --out loop                        a set that comes with karec: six ways to prerank
  karec lab simulate --arms diversity --out loop-2 --days 5 --users 5000 --works 100000 --report loop-2/report
  karec lab simulate --arms arms.toml --out loop-3
  karec lab simulate --arms arms.toml --out loop-3 --resume           after a kill

arms.toml (docs/training.md says more):
  train_every = 4                              # nights between two trainings; 0: never
  [scene]                                      # changes of the starting scene, for all arms
  limits.recall = 10_000
  [[arms]]
  name = "plain"
  [[arms]]
  name = "DPP"
  scene.stages.rerank.steps = [{ use = "dpp", diversity = 0.5 }]""",
    "screen": """\
examples:
  karec lab export-library library --works 1000000          made-up uploads, and a screen.toml that shows every key
  karec screen library/screen.toml --train --out screened --report screened/report
  karec screen library/screen.toml --out screened            again: days that were screened before are not read

screen.toml (docs/screening.md says more):
  keep = 100_000
  uploads = "uploads"                          # day=YYYY-MM-DD/*.parquet
  rules = [ { reason = "too short", column = "duration_s", least = 60 } ]
  quotas = [ { column = "type", value = "video", floor = 0.3, cap = 0.6 } ]
  [quality]
  model = "quality.onnx"                       # or: column = "voice_score"

Writes into OUT:
  days/          a file a day: its candidates, and why the others were rejected
  kept.parquet   day, id and quality of the works that are kept
  screen.json    works rejected by reason and day, quotas, what is to be noted""",
    "export-library": """\
examples:
  karec lab export-library library --works 1000000 --days 20
  karec screen library/screen.toml --train --out screened""",
    "data": """\
examples:
  karec data init shop                  writes shop/data.toml from the files in shop
  karec data check shop                 what is read, kept and left out
  karec train --data shop --out run1""",
    "export-world": """\
examples:
  karec lab export-world karaoke --works 20000 --users 2000 --exposures 50000
  karec data check karaoke
  karec train --data karaoke --out run1""",
    "init": """\
examples:
  karec data init shop
  karec data init log.csv items.parquet --out shop
  karec data init --preset kuairand KuaiRand-Pure/data

Guesses which table is the log and which column is what, and writes shop/data.toml with its reasons as comments. Nothing
that is there is overwritten. Check it by eye, then with karec data check.""",
    "check": """\
examples:
  karec data check shop
  karec data check shop --skip-bad      rows that cannot be used are left out
  karec data check shop --json | jq .tables
  karec data check --preset kuairand KuaiRand-Pure/data""",
    "config": """\
examples:
  karec config check karec.toml
  karec config show karec.toml --scene live
  karec config schema > karec.schema.json""",
    "config check": """\
examples:
  karec config check karec.toml
  karec config check karec.toml --scene live

Prints FILE:LINE: KEYS: what is wrong, for every mistake, and ends with 1 where there is one. Where the config's bundle
is there, scenes without a mistake are built too, which finds columns, models and sizes that do not fit.""",
    "config show": """\
examples:
  karec config show karec.toml --scene live
  karec config show karec.toml --scene live > live.toml     loads to the same cascade, beside karec.toml

Each value has a comment: the line of FILE, the scene that says it where it is inherited, or default.""",
    "config schema": """\
examples:
  karec config schema > karec.schema.json

With  #:schema karec.schema.json  as the first line of karec.toml, editors that know taplo (Even Better TOML) complete
keys and steps and mark what is wrong.""",
    "recommend": """\
examples:
  karec recommend --config karec-demo-world/karec.toml --user 10000001
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --k 20 --trace
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --explain
  karec recommend --config karec-demo-world/karec.toml --batch users.parquet --out feeds.parquet    again after a kill
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --shown 1093 77 --json | jq .items""",
    "evaluate": """\
examples:
  karec evaluate --data kuairand --root KuaiRand-Pure/data --run run7/run
  karec evaluate --data world --run karec-demo-world/run --json quality.json
  karec evaluate consistency --config karec-demo-world/karec.toml     does prerank keep what the ranker wants?
  karec evaluate consistency --log rank_log                           the same, of served requests""",
    "ablation": """\
examples:
  karec lab ablation --data kuairand --root KuaiRand-Pure/data --out ablation
  karec lab ablation --data world --works 200000 --exposures 500000 --out ablation-world
  karec lab ablation … --on validation --seeds 0 --rows hard list pools      to choose settings

Trains every row for every seed and compares them on the same rows and pools. OUT holds each cell as it is done: run
the same command again after a kill, and it goes on. Writes OUT/ablation.json, ablation.md.""",
    "consistency": """\
examples:
  karec evaluate consistency --config run7/karec.toml                            500 pools of 500 works, drawn
  karec evaluate consistency --config run7/karec.toml --pools 2000 --size 5000
  karec evaluate consistency --log run7/rank_log --report out                    live: the log's shadow requests

What the ranker puts on top of a pool, does prerank find it? Hit rates are normalised: 0 is chance, 1 is all.""",
    "recall": """\
examples:
  karec lab recall --config karec-demo-world/karec.toml
  karec lab recall --data kuairand --root KuaiRand-Pure/data --config run7/karec.toml --json recall.json
  karec lab recall --config karec-demo-world/karec.toml --channels

Recall@1,000 and @10,000 of the whole library, by recall's own vectors, by prerank's and by popularity: of the 100
works with the largest true value (world), of the ranker's 100 best of the whole library, and of the works enjoyed on
test days. With --channels: what each channel of the scene finds alone, within 1,000, 10,000 and 100,000 works, what all
find together, and what only one of them finds.""",
    "retrieval": """\
examples:
  karec lab retrieval --data lastfm --root hetrec2011-lastfm-2k --run run/run
  karec lab retrieval --data listens --run run/run --report out

recall@20, recall@100 and NDCG of what the test days hold out, over all works, for towers, ranker, popularity and the
peers item-kNN, ALS and BPR at their best settings on the validation days.""",
    "events": """\
examples:
  karec export events --config run7/karec.toml
  karec export events --config run7/karec.toml --before 2026-11-28

Writes one file a day to the folder or URL `exported` of [online], verifies it, then deletes the events from the store.
Run it once a day. karec train --events run7/karec.toml reads exported days and the store.""",
    "export": """\
examples:
  karec export events --config run7/karec.toml
  karec export trees ranker.onnx
  karec export stage --config karec-demo-world/karec.toml --out karec-demo-world/prerank-home.txt""",
    "trees": """\
examples:
  karec export trees ranker.onnx

Writes ranker.trees.npz for a model file that karec.toml names (model = "ranker.onnx"): karec's library
then scores its trees, with the bits of ONNX Runtime in a tenth of the time. Run it again after each change of the
model: the file holds the model's SHA-256, and with another one ONNX Runtime scores the trees. karec train writes the
file with each model.""",
    "diversity": """\
examples:
  karec lab diversity --config run7/karec.toml
  karec lab diversity --config run7/karec.toml --requests 500 --k 50 --report out

DPP, MMR, SSD and rules at several strengths, and plain top-k, over what the ranker scored for the same requests.""",
    "fusion": """\
examples:
  karec lab fusion --data kuairand --root KuaiRand-Pure/data --run run7/run
  karec lab fusion --data world --run karec-demo-world/run --report out
  karec lab fusion … --objectives click like play_time --steps 10 --k 5
  karec lab fusion … --on test                   once weights have been chosen

Orders every list by every choice of weights: a user's exposures of a day by what the user did (replayed), and in the
world, pools by the true chances (drawn). Prints the run's own weights and those that no others beat in every objective.
Write what you choose into the settings' [fusion], and into fusion's weights in karec.toml.""",
    "stage": """\
examples:
  karec export stage --config karec-demo-world/karec.toml --out karec-demo-world/prerank-home.txt
  karec export stage --config karec-demo-world/karec.toml --out karec-demo-world/prerank-home.txt --check

Writes a stage of karec.toml, defaults included, to the file that a C++ host's PreRanker reads. Write it again whenever
karec.toml changes, since the host reads this file alone; --check fails when FILE is stale. A step that runs in Python
alone is refused by name.""",
    "live": """\
examples:
  karec live --config run7/karec.toml                  run until SIGTERM or Ctrl-C, then stop the children; status 0
  karec live --config run7/karec.toml --status         show the current state, or the last one

karec.toml (docs/online-features.md):
  [online]
  url = "sqlite:online.db"
  refresh_share = 0.25                                 # fraction of a core for karec refresh; 0: it does not run
  train_every_hours = 24                               # 0: no training
  margin = 0.005                                       # of karec train --publish-if-no-worse
  train = ["--data", "shop", "--log", "rank_log"]      # more arguments of karec train; paths relative to this file

A child that fails is reported with its last line, and starts again after 1, 2, 4 … 64 seconds. Logs and the last state
are in live/ in the folder of the karec.toml.""",
    "serve": """\
examples:
  karec serve --config demo/karec.toml                 http://127.0.0.1:8080, until SIGTERM or Ctrl-C
  karec serve --config demo/karec.toml --workers 2 --port 9000
  curl -s localhost:8080/v1/recommend -H 'content-type: application/json' -d '{"user_id": 42, "k": 5}'

karec.toml (docs/serving.md):
  [serve]
  workers = 2
  max_queue_ms = 100             # a request that would wait longer for a thread gets 503 at once, with Retry-After
  host = "0.0.0.0"               # reached from other machines: needs a token
  token = "file:tokens/serve"    # or "env:NAME"; clients send Authorization: Bearer TOKEN

  [online]                       # for /v1/events and /v1/items
  url = "sqlite:online.db"

kill -HUP PID reloads karec.toml, tokens and the current bundle; the service also checks them every two seconds.
SIGTERM answers the requests that have begun, closes logs and ends with 0. All paths: http://127.0.0.1:8080/openapi.json""",
    "record": """\
examples:
  echo '{"event": "block", "item_id": 712}' | karec record run7/karec.toml
  echo '{"event": "adjust", "item_id": 712, "scale": 1.2, "offset": 0.05}' | karec record run7/karec.toml
  karec record run7/karec.toml uploads.jsonl

Rows are those of record() (docs/online-features.md): an event and the keys that it needs, with ids of the platform.
Each process that serves this karec.toml acts on them within 300 ms. Other rows are counted by reason, with exit code
2; the rest is stored.""",
    "restore": """\
examples:
  karec restore run7/karec.toml            the SQLite file is lost: from FILE.backup, then the days exported after it
  karec restore run7/karec.toml --state    the file is there, its state is not: from the bundle and all events

Services write FILE.backup once a day. Events that were stored after it and not exported are lost. Stop the services
before, and start them afterwards.""",
    "refresh": """\
examples:
  karec refresh run7/bundles                       for ever, a quarter of a core; stop it when you like
  karec refresh run7/bundles --once --share 1      one round, as fast as it goes
  karec refresh run7/bundles --config run7/karec.toml      with the works' counters of the online store
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --log run7/rank_log --rolling
  karec inspect run7/bundles                       how far the round is, ages, works by model version

Runs the item tower over the library of the bundle that `current` names, in shards of 16,384 works, oldest and most
shown works first, with the works' features as of the round's beginning. Shards lie in BUNDLES/library/; a service adds
them to its index while it serves (docs/online-features.md). A refresh that was killed goes on where it stopped.

With karec train --rolling a new model serves at once beside the one before: the refresh moves work after work to it,
each row meets the user vector of its own model, and when none is left the former model is not asked any more.""",
    "inspect": """\
examples:
  karec inspect karec-demo-world/bundles                  the current bundle: versions, files, models, index
  karec inspect karec-demo-world/bundles/current/index.karec
  karec inspect karec-demo-world/rank_log""",
}
