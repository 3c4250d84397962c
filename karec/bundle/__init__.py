"""A published bundle: everything that one model version serves with, in one folder that never changes.

    ROOT/current            → v0000000007        a symbolic link, swapped by one atomic rename
    ROOT/v0000000007/manifest.json               format, model_version, {file: sha256, bytes}, facts
                    /manifest.sig                optional: the manifest's ed25519 signature
                    /manifest.txt                the same for C++ hosts: model_version, each file's bytes and
                    XXH64 /user_tower.onnx item_tower.onnx ranker.onnx
                    /ranker.trees.npz            optional: the trees of ranker.onnx
                    /user_tower.v0000000006.onnx …   optional: of other versions that rows of the index are of
                    /recall.karec recall_user_tower.onnx recall_item_tower.onnx   optional: recall's own
                    vectors /encoder.npz /index.karec /snapshot/…
                    /ids/users.karec …           optional: maps of the platform's ids

``publish`` fills a temporary folder, writes the manifest and renames; ``make_current`` goes back to an older
version. ``Bundle.open`` refuses a folder whose files differ from the manifest.
"""

from karec.bundle.bundle import Bundle, identity_of
from karec.bundle.publish import make_current, next_version, publish_folder

__all__ = ["Bundle", "identity_of", "make_current", "next_version", "publish_folder"]
