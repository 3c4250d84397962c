"""A published bundle: one folder with all files that one model version serves. It never changes.

    ROOT/current            → v0000000007        a symbolic link, replaced by one atomic rename
    ROOT/v0000000007/manifest.json               format, model_version, facts, {file: bytes, sha256, xxh64}
                    /manifest.sig                optional: the manifest's ed25519 signature
                    /user_tower.onnx item_tower.onnx ranker.onnx
                    /cross_weights.npz           optional: of wide towers, also …v0000000006.npz
                    /ranker.trees.npz ranker.sums.npz  optional: the trees or row sums of ranker.onnx
                    /user_tower.v0000000006.onnx …   optional: of other model versions with rows in the index
                    /encoder.npz /index.karec /snapshot/…
                    /kinds/NAME/…                optional: items and index of another item type
                    /ids/users.karec …           optional: maps of the platform's ids

``publish_folder`` fills a temporary folder, writes the manifest and renames. ``make_current`` goes back to an
older version. ``Bundle.open`` refuses a folder whose files differ from the manifest.
"""

from karec.bundle.bundle import Bundle, identity_of
from karec.bundle.publish import make_current, next_version, publish_folder

__all__ = ["Bundle", "identity_of", "make_current", "next_version", "publish_folder"]
