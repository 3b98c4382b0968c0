"""Calls that people guess who know NumPy, pandas, Keras, librosa, Whisper or scikit-learn.

Each row is a call as it was guessed before the documentation was read, and what must come of it:
either an expression that holds, or a piece of the one line that names the right call.
"""

from __future__ import annotations

import array
import copy
import io
import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from musicnn_zoo import Tagger, TaggingModel

AUDIO = Path(__file__).parent.parent / "examples" / "audio"
TECHNO = str(AUDIO / "techno_loop.ogg")

WORKS = [
    # Tags, as a dict, a list, or a ranking.
    "'techno' in tags",
    "tags['techno'] == tags[0].score",
    "tags['guitar'] < 0.2",
    "tags.get('techno') > 0.5",
    "tags.get('no such tag', -1) == -1",
    "tags.get('no such tag') is None",
    "len(dict(tags)) == 50",
    "len(tags.items()) == len(tags.keys()) == len(tags.values()) == 50",
    "list(tags.items())[0] == tags[0]",
    "dict(tags) == dict(tags.items())",
    "len(tags) == 5",
    "[tag for tag, score in tags] == list(tags.names)",
    "max(tags) == tags[0]",
    "max(tags).tag == 'techno'",
    "min(tags) == tags[-1]",
    "sorted(tags, reverse=True) == list(tags)",
    "tags.names[0] == 'techno'",
    "tags.scores == tuple(score for _, score in tags)",
    "[t.tag for t in tags.top(3)] == list(tags.names[:3])",
    "len(tags.top(50)) == 50",
    "tags.top(1).names == ('techno',)",
    "[t.score for t in tags][:1] == [tags['techno']]",
    "tags == musicnn_zoo.tag(path)",
    "tags != musicnn_zoo.tag(path, top_k=3)",
    "pickle.loads(pickle.dumps(tags)) == tags",
    "copy.deepcopy(tags) == tags",
    "hash(tags) == hash(musicnn_zoo.tag(path))",
    "'techno' in str(tags) and 'techno' in repr(tags)",
    "tags.to_pandas().index[0] == 'techno'",
    "tags[:2] == tuple(tags)[:2]",
    # Taggrams, as arrays with named columns.
    "gram['techno'].shape == gram.times.shape",
    "np.array_equal(gram['techno'], gram.scores[:, gram.tags.index('techno')])",
    "gram[['techno', 'drums']].shape == (len(gram), 2)",
    "gram.shape == (len(gram), 50)",
    "np.asarray(gram).shape == gram.scores.shape",
    "np.array_equal(gram[0], gram.scores[0])",
    "len(list(gram)) == len(gram)",
    "'techno' in gram",
    "gram == musicnn_zoo.taggram(path)",
    "pickle.loads(pickle.dumps(gram)) == gram",
    "gram.rank() == tags",
    "np.asarray(next(Tagger().taggram_files([path])).value).shape == (len(gram), 50)",
    # Excerpts, as librosa has them.
    "musicnn_zoo.tag(path, offset=4, duration=6).clip.duration_s == 6",
    "musicnn_zoo.load_audio(path, offset=4, duration=6).samples.shape == (96000,)",
    "np.allclose(excerpt(4, 6), musicnn_zoo.load_audio(path, offset=4, duration=6).samples)",
    "musicnn_zoo.taggram(path, offset=4, duration=6).times[0] == 0",
    "musicnn_zoo.embed(path, duration=6) == musicnn_zoo.embed(path, offset=0, duration=6)",
    "next(musicnn_zoo.tag_files([path], offset=4)).value.clip.offset_s == 4",
    "'6.0 s from 0:04.0 on' in str(musicnn_zoo.tag(path, offset=4, duration=6))",
    "musicnn_zoo.tag(path, duration=1e6) == tags",
    # Embeddings, as arrays.
    "emb.shape == (200,)",
    "np.asarray(emb).shape == (200,)",
    "len(emb) == 200 and emb.ndim == 1 and emb.dtype == np.float32",
    "isinstance(emb - emb, np.ndarray) and not (emb - emb).any()",
    "(2 * emb)[0] == 2 * emb[0]",
    "abs(emb @ emb / np.linalg.norm(emb) ** 2 - 1) < 1e-5",
    "np.dot(emb, emb) > 0",
    "np.stack([emb, emb]).shape == (2, 200)",
    "cosine_similarity([emb], [emb])[0, 0] > 0.999",
    "emb == musicnn_zoo.embed(path)",
    "(emb == emb.values).all()",
    "pickle.loads(pickle.dumps(emb)) == emb",
    "len(emb.tolist()) == 200",
    "np.asarray(emb, dtype='float64').dtype == np.float64",
    # Events.
    "'techno' in found",
    "found['techno'][0].start_s >= 0",
    "found == musicnn_zoo.events(path)",
    "pickle.loads(pickle.dumps(found)) == found",
    # Features.
    "pickle.loads(pickle.dumps(feats)) == feats",
    "feats == musicnn_zoo.features(path)",
    # A Tagger.
    "tagger(path) == tags",
    "tagger(samples, sample_rate=sr).names[0] == 'techno'",
    "pickle.loads(pickle.dumps(tagger)).tag(path) == tags",
    "copy.copy(tagger).tag(path) == tags",
    "'MTT_musicnn' in repr(tagger)",
    "with_statement(tagger, path) == tags",
    "Tagger(tagger).tag(path) == tags",
    "musicnn_zoo.load_model().name == 'MTT_musicnn'",
    "musicnn_zoo.Tagger(model=musicnn_zoo.load_model()).tag(path).names[0] == 'techno'",
    "musicnn_zoo.model_info().name == 'MTT_musicnn'",
    # Audio as people have it.
    "musicnn_zoo.tag(Path(path)) == tags",
    "musicnn_zoo.tag(samples, sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag((samples, sr)).names[0] == 'techno'",
    "musicnn_zoo.tag((sr, samples)).names[0] == 'techno'",
    "musicnn_zoo.tag([samples, sr]).names[0] == 'techno'",
    "musicnn_zoo.tag({'array': samples, 'sampling_rate': sr}).names[0] == 'techno'",
    "musicnn_zoo.tag(musicnn_zoo.load_audio(path)).names[0] == 'techno'",
    "musicnn_zoo.tag(soundfile.read(path)).names[0] == 'techno'",
    "musicnn_zoo.tag(stereo.T, sample_rate=sr) == musicnn_zoo.tag(stereo, sample_rate=sr)",
    "musicnn_zoo.tag(samples.tolist(), sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag(pandas.Series(samples), sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag(tensorflow.constant(samples), sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag(samples[np.newaxis], sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag((samples * 32767).astype(np.int16), sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag(samples.astype(np.float16), sample_rate=sr).names[0] == 'techno'",
    "musicnn_zoo.tag(samples, sample_rate=float(sr)).names[0] == 'techno'",
    "dict(musicnn_zoo.tag(content)) == dict(tags)",
    "dict(musicnn_zoo.tag(bytearray(content))) == dict(tags)",
    "dict(musicnn_zoo.tag(memoryview(content))) == dict(tags)",
    "dict(musicnn_zoo.tag(io.BytesIO(content))) == dict(tags)",
    "dict(musicnn_zoo.tag(open(path, 'rb'))) == dict(tags)",
    "dict(musicnn_zoo.tag(Path(path).absolute().as_uri())) == dict(tags)",
    "dict(musicnn_zoo.tag('~/techno.ogg')) == dict(tags)",
    "next(musicnn_zoo.tag_files(['~/techno.ogg'])).unwrap()['techno'] == tags['techno']",
    "musicnn_zoo.tag({'audio': {'array': samples, 'sampling_rate': sr}})['techno'] > 0.5",
    "musicnn_zoo.tag({'array': samples}, sample_rate=sr)['techno'] > 0.5",
    "musicnn_zoo.tag({'waveform': samples, 'sample_rate': sr})['techno'] > 0.5",
    "musicnn_zoo.tag(array.array('f', samples), sample_rate=sr)['techno'] > 0.5",
    "musicnn_zoo.tag('FILE://localhost' + os.path.abspath(path))['techno'] > 0.5",
    "[each.shape for each in [unpacked(musicnn_zoo.load_audio(path))[0]]] == [samples.shape]",
    "unpacked(musicnn_zoo.load_audio(path))[1] == sr",
    "added(emb, 1).shape == (200,)",
    "tags[0] > 0.5 and tags.index('techno') == 0",
    "musicnn_zoo.tag(path, top_k=np.int64(3)).names == tags.names[:3]",
    "next(musicnn_zoo.tag_files([None])).error is not None",
    "next(musicnn_zoo.tag_files([(samples, sr)])).unwrap()['techno'] > 0.5",
    # Silence.
    "len(musicnn_zoo.tag(np.zeros(5 * 16000), sample_rate=16000)) == 0",
    "'silent' in str(musicnn_zoo.tag(np.zeros(5 * 16000), sample_rate=16000))",
    "musicnn_zoo.tag(np.zeros(5 * 16000), sample_rate=16000).clip.silent == 1",
    "len(musicnn_zoo.events(np.zeros(5 * 16000), sample_rate=16000, threshold=0.1)) == 0",
    "len(musicnn_zoo.tag(np.zeros(5 * 16000), sample_rate=16000, silence='keep')) == 5",
    "tags.clip.silent == 0",
    # Looking around.
    "'find_audio' in dir(musicnn_zoo) and len(list(musicnn_zoo.find_audio(folder))) == 3",
    "'MTT_musicnn' in musicnn_zoo.list_models()",
    "musicnn_zoo.load_audio(path).duration_s > 1",
    "np.asarray(musicnn_zoo.load_audio(path)).ndim == 1",
    "list(musicnn_zoo.tag_files(musicnn_zoo.find_audio(folder)))[2].value.names[0] == 'techno'",
]

SAYS = [
    # One or many.
    ("musicnn_zoo.tag([path, path])", "tag_files(["),
    ("musicnn_zoo.tag((path, path))", "tag_files(["),
    ("musicnn_zoo.tag(folder)", "tag_files(find_audio("),
    ("musicnn_zoo.tag(Path(folder))", "tag_files(find_audio("),
    ("musicnn_zoo.embed([path, path])", "embed_files(["),
    ("musicnn_zoo.embed(folder)", "embed_files(find_audio("),
    ("musicnn_zoo.taggram([path])", "taggram_files(["),
    ("musicnn_zoo.events(folder)", "events_files(find_audio("),
    ("musicnn_zoo.features([path])", "[features(path) for path in paths]"),
    ("musicnn_zoo.load_audio(folder)", "find_audio("),
    ("musicnn_zoo.tag_files(path)", "tag("),
    ("musicnn_zoo.tag_files(folder)", "find_audio("),
    ("musicnn_zoo.embed_files(path)", "embed("),
    ("tagger(folder)", "tag_files(find_audio("),
    ("musicnn_zoo.tag('music/*.mp3')", "glob"),
    # Keywords by other names.
    ("musicnn_zoo.tag(samples, sr)", "sample_rate="),
    ("musicnn_zoo.tag(samples, sr=sr)", "sample_rate"),
    ("musicnn_zoo.tag(samples, sampling_rate=sr)", "sample_rate"),
    ("musicnn_zoo.tag(path, 'MSD_musicnn')", "model="),
    ("musicnn_zoo.tag(path, model_name='MSD_musicnn')", "model"),
    ("musicnn_zoo.tag(path, k=3)", "top_k"),
    ("musicnn_zoo.tag(path, topk=3)", "top_k"),
    ("musicnn_zoo.tag(path, top_n=3)", "top_k"),
    ("musicnn_zoo.tag(path, topN=3)", "top_k"),
    ("musicnn_zoo.tag(path, min_score=0.3)", "threshold"),
    ("musicnn_zoo.taggram(path, hop=1)", "hop_s"),
    ("musicnn_zoo.taggram(path, input_overlap=1)", "hop_s"),
    ("musicnn_zoo.embed(path, pool='mean')", "pooling"),
    ("musicnn_zoo.tag(path, batch_size=8)", "Tagger("),
    ("musicnn_zoo.tag_files([path], n_jobs=2)", "jobs"),
    ("musicnn_zoo.tag_files([path], num_workers=2)", "jobs"),
    ("musicnn_zoo.load_audio(path, sr=22050)", "target_rate"),
    ("musicnn_zoo.load_model('MTT_musicnn', tags=['calm', 'wild'])", "finetune_model"),
    ("musicnn_zoo.load_model('MTT_musicnn', num_classes=10)", "finetune_model"),
    ("musicnn_zoo.load_model('musicnn')", "MTT_musicnn"),
    ("musicnn_zoo.tag(path, model='musicnn')", "MTT_musicnn"),
    ("musicnn_zoo.tag(path, device='cuda')", "gpu"),
    ("musicnn_zoo.load_audio(path, 16000)", "target_rate=16000"),
    ("musicnn_zoo.tag(path, 3)", "top_k=3"),
    ("musicnn_zoo.tag(path, 0.3)", "threshold=0.3"),
    ("musicnn_zoo.tag(path, model)", "model="),
    ("musicnn_zoo.tag(path=path)", "audio"),
    ("musicnn_zoo.tag_files([path], threads=2)", "jobs"),
    ("musicnn_zoo.taggram(path, top_k=3)", "tag takes it"),
    ("musicnn_zoo.tag_files('music/*.mp3')", "glob"),
    ("musicnn_zoo.tag([path])", "a list of 1 file"),
    ("musicnn_zoo.tag((path, sr))", "audio must be"),
    ("Tagger('MTT_musicnn', 'cpu')", "by name only"),
    ("Tagger(model_name='MTT_musicnn')", "model"),
    ("musicnn_zoo.build_model('vgg', num_classes=10)", "tags"),
    ("musicnn_zoo.list_models(filter='MTT')", "pattern"),
    ("tags.top(n=3)", "k"),
    ("gram.rank(3)", "top_k=3"),
    ("tags[99]", "no index 99: 5 of 50 tags are kept"),
    ("musicnn_zoo.datasets.open_dataset(folder, layot='table')", "did you mean layout=?"),
    ("musicnn_zoo.datasets.from_folder(folder, groupby='subfolder')", "did you mean group_by=?"),
    ("musicnn_zoo.datasets.from_table(path, audio_dir=folder)", "audio_root"),
    ("musicnn_zoo.datasets.magnatagatune(folder, merged={})", "did you mean merge=?"),
    ("musicnn_zoo.datasets.jamendo(folder, check_file=False)", "did you mean check_files=?"),
    ("musicnn_zoo.datasets.million_song(folder, root=folder)", "audio_root"),
    ("musicnn_zoo.datasets.split(None, random_state=3)", "seed"),
    # Names of functions in other packages.
    ("musicnn_zoo.predict(path)", "tag"),
    ("musicnn_zoo.top_tags(path)", "tag"),
    ("musicnn_zoo.extractor(path)", "taggram"),
    ("musicnn_zoo.load('MTT_musicnn')", "load_model"),
    ("musicnn_zoo.from_pretrained('MTT_musicnn')", "load_model"),
    ("musicnn_zoo.available_models()", "list_models"),
    ("musicnn_zoo.encode(path)", "embed"),
    ("musicnn_zoo.Model('MTT_musicnn')", "load_model"),
    ("tagger.predict(path)", "tag"),
    ("tagger.encode(path)", "embed"),
    ("tags.to_df()", "to_pandas"),
    ("tags['tekno']", "techno"),
    ("gram['tekno']", "techno"),
    ("feats['mean_pol']", "mean_pool"),
    ("emb.reshape(1, -1)", ".values.reshape"),
    ("emb.mean()", ".values.mean"),
    ("gram.mean()", ".scores.mean"),
    ("gram.names", "tags"),
    ("tags.source", ".clip.source"),
    ("next(musicnn_zoo.tag_files([path])).names", ".value.names"),
    ("musicnn_zoo.load_audio(path).sr", "sample_rate"),
    ("musicnn_zoo.get_embedding(path)", "embed"),
    ("feats[0]", "unknown layer"),
    ("musicnn_zoo.tag(path, start=4)", "did you mean offset=?"),
    ("musicnn_zoo.tag(path, offset_s=4)", "did you mean offset=?"),
    ("musicnn_zoo.tag(path, duration_s=4)", "did you mean duration=?"),
    ("musicnn_zoo.load_audio(path, length=4)", "did you mean duration=?"),
    ("musicnn_zoo.listening_page(path, offset=4)", "load_audio takes it"),
    ("musicnn_zoo.listening_page(path, model='MTT_vgg')", "did you mean models=?"),
    # Values that cannot be meant.
    ("musicnn_zoo.tag(path, offset=-1)", "offset must be at least 0"),
    ("musicnn_zoo.tag(path, offset='4')", "offset must be a finite number"),
    ("musicnn_zoo.tag(path, duration=0)", "duration must be above 0"),
    ("musicnn_zoo.tag(path, offset=99)", "is 32.0 s long, so that nothing comes after an offset"),
    ("next(musicnn_zoo.tag_files([path], offset=99)).unwrap()", "an offset of 99 s"),
    ("musicnn_zoo.tag(path, top_k='all')", "threshold=0 keeps all tags"),
    ("tags.top('all')", "threshold=0 keeps all tags"),
    ("gram.plot(top_k='all')", "top_k must be a whole number"),
    ("musicnn_zoo.events(path, release='0.3')", "release must be between 0 and the threshold"),
    ("musicnn_zoo.events(path, min_length_s='1')", "min_length_s must be a finite number"),
    ("musicnn_zoo.listening_page(samples, sample_rate='44100')", "sample_rate must be"),
    ("musicnn_zoo.embed(path, layer=['penultimate'])", "layer must be the name of one layer"),
    ("musicnn_zoo.features(path, layers=3)", "layers must be names of layers"),
    ("musicnn_zoo.features(path, layers=['mean_pol'])", "did you mean mean_pool"),
    ("musicnn_zoo.list_models(3)", "pattern must be a text"),
    ("list(musicnn_zoo.find_audio([folder]))", "directory must be one path"),
    ("musicnn_zoo.Library().index(3)", "a folder must be a path"),
    ("musicnn_zoo.Library().index(folder, on_progress=5)", "on_progress must be a function"),
    # What is no model, or no data set.
    ("musicnn_zoo.tag(path, model=['MTT_vgg'])", "one call takes one model"),
    ("musicnn_zoo.load_model(['MTT_vgg'])", "one call takes one model"),
    ("musicnn_zoo.load_model(None)", "model must be the name of a model"),
    ("musicnn_zoo.load_model(3, weights=path)", "model must be the name of a model"),
    ("musicnn_zoo.model_info(['MTT_vgg'])", "one call takes one model"),
    ("musicnn_zoo.finetune_model(['MTT_vgg'], tags=['a'])", "one call takes one model"),
    ("musicnn_zoo.export_model(['MTT_vgg'], 'x.onnx')", "one call takes one model"),
    ("musicnn_zoo.export_model('MTT_vgg', 3)", "output must be a path"),
    ("musicnn_zoo.learned_filters(['MTT_vgg'])", "one call takes one model"),
    ("musicnn_zoo.push_to_hub(['MTT_vgg'], 'me/mine')", "one call takes one model"),
    ("musicnn_zoo.save_pretrained('MTT_vgg', 'x')", "load_model('MTT_vgg') gives one"),
    ("musicnn_zoo.set_trainable('MTT_vgg', 'head')", "load_model('MTT_vgg') gives one"),
    ("musicnn_zoo.augment('MTT_vgg', None)", "load_model('MTT_vgg') gives one"),
    ("musicnn_zoo.with_thresholds('MTT_vgg', None)", "load_model('MTT_vgg') gives one"),
    ("musicnn_zoo.train_model('MTT_vgg', None, 'x')", "load_model('MTT_vgg') gives one"),
    ("musicnn_zoo.train_model(model, 'clips.csv', 'x')", "open_dataset('clips.csv') reads one"),
    ("musicnn_zoo.evaluate_model('MTT_vgg', 'clips.csv')", "open_dataset('clips.csv') reads one"),
    ("musicnn_zoo.datasets.split('clips.csv')", "open_dataset('clips.csv') reads one"),
    ("musicnn_zoo.datasets.from_folder(5)", "a folder must be a path"),
    ("musicnn_zoo.datasets.from_table(5)", "a table must be a path"),
    ("musicnn_zoo.load_model('MTT_vgg', weights=5)", "weights must be a path"),
    ("musicnn_zoo.load_model('MTT_vgg', weights=5, source='hub')", "weights must be a path"),
    ("musicnn_zoo.store_thresholds(5, None)", "the folder of a model must be a path"),
    ("musicnn_zoo.list_backends(5)", "frontend must be one of sample_level"),
    ("musicnn_zoo.merge_outputs(5, [])", "an output must be a path"),
    ("musicnn_zoo.datasets.open_dataset(None)", "a data set must be a path"),
    ("musicnn_zoo.tag(path, duration=1e-9)", "duration must be at least one sample"),
    ("musicnn_zoo.taggram(path).plot(5)", "a picture must be a path"),
    ("musicnn_zoo.listening_page(path).save(5)", "a page must be a path"),
    ("musicnn_zoo.build_model(['vgg'])", "config must be the name of an architecture"),
    # What is no array.
    ("np.asarray(feats)", "features['timbral']"),
    ("np.asarray(next(musicnn_zoo.tag_files([path])))", "np.asarray(result.value)"),
    ("np.asarray(musicnn_zoo.listening_page(path))", "np.asarray(page.taggrams[0])"),
    ("np.asarray(musicnn_zoo.learned_filters('MTT_vgg', filters=1, steps=1))", "no array"),
    ("musicnn_zoo.tag(path, top_k='3')", "top_k must be a whole number"),
    ("musicnn_zoo.tag(path, top_k=True)", "top_k must be a whole number"),
    ("musicnn_zoo.tag(path, threshold=[0.3])", "threshold must be between 0 and 1"),
    ("musicnn_zoo.tag(path, patch_s='3')", "patch_s must be a positive number"),
    ("musicnn_zoo.tag(path, patch_s=1e9)", "patch_s must be at most"),
    ("musicnn_zoo.tag_files([path], jobs='2')", "jobs must be a whole number"),
    ("musicnn_zoo.tag_files(None)", "paths must be an iterable"),
    ("Tagger(batch_size='8')", "batch_size must be a whole number"),
    ("Tagger(device=0)", "device must be"),
    ("musicnn_zoo.tag(path, device=['cpu'])", "device must be"),
    ("musicnn_zoo.tag(path, engine=['onnxruntime'])", "engine must be one of"),
    ("musicnn_zoo.tag(path, engine=samples)", "engine must be one of"),
    ("musicnn_zoo.tag(path, tail=samples)", "tail must be one of"),
    ("musicnn_zoo.tag(path, damaged=samples)", "damaged must be one of"),
    ("musicnn_zoo.tag(path, top_k=samples)", "top_k must be a whole number"),
    ("musicnn_zoo.embed(path, pooling=samples)", "pooling must be"),
    ("Tagger(None)", "model must be"),
    ("musicnn_zoo.tag(path, model=None)", "model must be"),
    ("musicnn_zoo.tag(path, model=['a', 'b'])", "model must be"),
    ("musicnn_zoo.tag(samples, sample_rate=16)", "at least 1,000 Hz"),
    # Audio that cannot be meant.
    ("musicnn_zoo.tag(samples)", "sample_rate"),
    ("musicnn_zoo.tag(samples * 32767, sample_rate=sr)", "full scale is 1"),
    ("musicnn_zoo.tag(np.stack([samples] * 12), sample_rate=sr)", "12 clips"),
    ("musicnn_zoo.tag(noise(4, 80000), sample_rate=sr)", "4 clips"),
    ("musicnn_zoo.tag(np.zeros((2, 2, 100)), sample_rate=sr)", "(channels, samples)"),
    ("musicnn_zoo.tag(samples.astype(complex), sample_rate=sr)", "complex"),
    ("musicnn_zoo.tag([None, 1.0, 2.0], sample_rate=sr)", "audio must be"),
    ("musicnn_zoo.tag(None)", "audio must be"),
    ("musicnn_zoo.tag('')", "empty"),
    ("musicnn_zoo.tag((samples, float('nan')))", "sample_rate must be"),
    ("musicnn_zoo.tag([10**400] * 3, sample_rate=sr)", "too large"),
    ("musicnn_zoo.tag('~nobody at all/x.ogg')", "no such file"),
    ("musicnn_zoo.tag(closed)", "is closed"),
    ("musicnn_zoo.tag((samples * 32767).astype(np.int64), sample_rate=sr)", "as int16"),
    ("musicnn_zoo.tag(3)", "audio must be"),
    ("musicnn_zoo.tag((samples, sr), sample_rate=sr + 1)", "sample_rate"),
    ("musicnn_zoo.listening_page('https://example.org/song.mp3')", "download"),
    ("musicnn_zoo.tag('no such file.mp3')", "no such file"),
    ("musicnn_zoo.tag(io.StringIO('text'))", "binary"),
    ("musicnn_zoo.tag(path, sample_rate=44100)", "a file states its own"),
    ("musicnn_zoo.tag(path, top_k=0)", "top_k must be at least 1"),
    ("musicnn_zoo.tag(path, threshold=50)", "between 0 and 1"),
    ("musicnn_zoo.tag(path, silence='drop')", "skip"),
    # Keras.
    ("model.predict(waveforms_int16, verbose=0)", "floats in ±1"),
    ("model.predict(samples, verbose=0)", "(batch, samples)"),
    ("model.predict(samples[np.newaxis, :, np.newaxis], verbose=0)", "(batch, samples)"),
    ("model.predict(samples[np.newaxis, :100], verbose=0)", "512"),
    ("model(samples)", "(batch, samples)"),
    ("model(samples[np.newaxis, :100])", "512"),
    ("model.predict(path)", "musicnn_zoo.tag"),
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the calls find."""
    pandas = pytest.importorskip("pandas")
    import tensorflow
    from sklearn.metrics.pairwise import cosine_similarity

    import musicnn_zoo.datasets

    home = tmp_path_factory.mktemp("home")
    content = Path(TECHNO).read_bytes()
    (home / "techno.ogg").write_bytes(content)
    loaded = musicnn_zoo.load_audio(TECHNO)
    rng = np.random.default_rng(5)

    def with_statement(tagger: Tagger, path: str) -> Any:
        with tagger as entered:
            return entered.tag(path)

    def noise(*shape: int) -> Any:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    def added(value: Any, other: Any) -> Any:
        value += other
        return value

    closed = io.BytesIO(content)
    closed.close()
    samples, sr = loaded.samples, loaded.sample_rate
    model: TaggingModel = musicnn_zoo.load_model("MTT_musicnn")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(home))
        patched.setenv("USERPROFILE", str(home))
        yield {
            "musicnn_zoo": musicnn_zoo, "np": np, "pandas": pandas, "tensorflow": tensorflow,
            "soundfile": soundfile, "io": io, "os": os, "copy": copy, "pickle": pickle,
            "Path": Path, "Tagger": Tagger, "cosine_similarity": cosine_similarity,
            "array": array, "unpacked": lambda pair: (lambda y, sr: (y, sr))(*pair),
            "added": added, "closed": closed,
            "excerpt": lambda at, length: samples[at * sr :][: length * sr],
            "with_statement": with_statement, "noise": noise, "open": open,
            "path": TECHNO, "folder": str(AUDIO), "content": content,
            "samples": samples, "sr": sr, "stereo": np.stack([samples, 0.5 * samples]),
            "waveforms_int16": (samples[np.newaxis, :48128] * 32767).astype(np.int16),
            "tags": musicnn_zoo.tag(TECHNO), "gram": musicnn_zoo.taggram(TECHNO),
            "emb": musicnn_zoo.embed(TECHNO), "found": musicnn_zoo.events(TECHNO),
            "feats": musicnn_zoo.features(TECHNO), "tagger": Tagger(), "model": model,
        }  # fmt: skip


@pytest.mark.parametrize("call", WORKS)
def test_what_people_guess_works(call: str, names: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # files that the calls open
        assert eval(call, names)


@pytest.mark.parametrize(("call", "hint"), SAYS)
def test_what_people_get_wrong_is_said_in_a_line(
    call: str, hint: str, names: dict[str, Any]
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            eval(call, names)
            said = [str(warning.message) for warning in warned]
        except Exception as error:
            said = [str(error)]
    assert any(hint in line for line in said), said
    assert all("\n" not in line for line in said)


@pytest.mark.slow
def test_a_type_checker_knows_the_guessed_forms(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed: the extra 'dev'")
    root = Path(__file__).parent.parent
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import musicnn_zoo\n"
        "musicnn_zoo.tag('song.mp3', topk=3)\n"
        "musicnn_zoo.tag(3)\n"
        "musicnn_zoo.tag('song.mp3').to_df()\n"
    )
    options = ["--config-file", str(root / "pyproject.toml")]  # strict
    printed, _, code = api.run([*options, str(Path(__file__).with_name("typed_guesses.py"))])
    assert code == 0, printed
    printed, _, _ = api.run([*options, str(wrong)])
    assert printed.count("error:") == 3, printed
