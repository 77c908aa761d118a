"""What `--help` says of each command, with examples."""

DESCRIPTION = """Builds and checks data for training: TFRecord shards that TFDS opens.

examples:
  python -m tfrecords_tools build easy_vqa --output_dir data
  python -m tfrecords_tools build manifest --manifest pairs.jsonl \\
      --image_column image --caption_column caption --name pets --output_dir data
  python -m tfrecords_tools build image_folder --folder photos --name photos \\
      --output_dir data
  python -m tfrecords_tools inspect --data data/pets/1.0.0
  python -m tfrecords_tools verify --data data/pets/1.0.0

A build that was stopped or killed goes on with the same command. --dry_run, with any
source, shows what would be written.

--debug, anywhere, shows where in the program an error arose."""

CONLL = """Tagged sentences, a word and its tag a line (CoNLL's form); also with images.

examples:
  python -m tfrecords_tools build conll --name entities --output_dir data \\
      --files train=eng.train validation=eng.testa test=eng.testb
  python -m tfrecords_tools build conll --files train=en-ud-train.conllu \\
      --word_column 1 --tag_column 3 --scheme any --comments --name pos \\
      --output_dir data
  python -m tfrecords_tools build conll --image_folder twitter2015_images \\
      --files train=train.txt validation=valid.txt test=test.txt \\
      --name twitter2015 --output_dir data"""

GETTEXT = """Texts of programs with their translations, of gettext's catalogues.

example:
  apt-get install libreoffice-l10n-de
  python -m tfrecords_tools build gettext --name libreoffice_de --output_dir data \\
      --folder /usr/lib/libreoffice/program/resource/de"""

SQUAD = """Questions on texts in the format of SQuAD v1 and v2.

example:
  python -m tfrecords_tools build squad --name squad --output_dir data \\
      --files train=train-v2.0.json validation=dev-v2.0.json"""

EASY_VQA = """The easy-VQA questions, from the Python package easy-vqa.

example:
  python -m tfrecords_tools build easy_vqa --output_dir data"""

EASY_VQA_CAPTIONS = """The easy-VQA pictures, with captions such as "a blue circle".

example:
  python -m tfrecords_tools build easy_vqa_captions --output_dir data"""

ANNOTATIONS = """Published data sets in the formats they come in, with local images.

examples:
  python -m tfrecords_tools build annotations --format coco \\
      --annotations train=captions_train2017.json validation=captions_val2017.json \\
      --images train2017 val2017 --name coco --output_dir data
  python -m tfrecords_tools build annotations --format vqa2 \\
      --annotations train=v2_mscoco_train2014_annotations.json \\
      --questions v2_OpenEnded_mscoco_train2014_questions.json \\
      --images train2014 --name vqa --output_dir data
  python -m tfrecords_tools build annotations --format karpathy \\
      --annotations dataset_flickr30k.json --images flickr30k-images \\
      --name flickr30k --output_dir data"""

HUGGINGFACE = """Local Parquet or Arrow files of Hugging Face's `datasets`.

examples:
  python -m tfrecords_tools build huggingface --data beans/data \\
      --image_column image --label_column labels --name beans --output_dir data
  python -m tfrecords_tools build huggingface --data "train=flickr/*.parquet" \\
      --image_column image --caption_column caption --name flickr --output_dir data
  python -m tfrecords_tools build huggingface --data saved_to_disk \\
      --audio_column audio --caption_column transcription --name minds \\
      --output_dir data
  python -m tfrecords_tools build huggingface --data vqa/data --image_column image \\
      --question_column question --answer_column multiple_choice_answer \\
      --id_column question_id --name vqa --output_dir data"""

MANIFEST = """Rows of a CSV, TSV, JSONL or Parquet file that names images or videos.

The columns given decide what a record is: image, video or audio with caption; image,
question and answer; or a label with an image or an audio, a text, or both, and columns
of numbers and categories.

examples:
  python -m tfrecords_tools build manifest --manifest pairs.jsonl \\
      --image_column image --caption_column caption --split_column split \\
      --name pets --output_dir data
  python -m tfrecords_tools build manifest --manifest pairs.jsonl \\
      --image_column image --caption_column caption --max_side 512 --reencode jpeg \\
      --min_side 64 --max_aspect_ratio 3 --min_words 3 --language en \\
      --drop_duplicate_captions --group_near_duplicates --skip_bad \\
      --shard_megabytes 150 --name pets --output_dir data
  python -m tfrecords_tools build manifest --manifest clips.csv \\
      --video_column video --caption_column caption --name clips --output_dir data
  python -m tfrecords_tools build manifest --manifest speech.tsv \\
      --audio_column file --caption_column transcript --max_seconds 30 \\
      --name speech --output_dir data
  python -m tfrecords_tools build manifest --manifest vqa.csv \\
      --image_column image --question_column question --answer_column answer \\
      --test_fraction 0.1 --name my_vqa --output_dir data
  python -m tfrecords_tools build manifest --manifest reviews.tsv \\
      --text_column review --label_column stars --name reviews --output_dir data
  python -m tfrecords_tools build manifest --manifest cases.csv \\
      --image_column scan --text_column report --number_columns age weight \\
      --category_columns site --label_column finding --allow_missing \\
      --name cases --output_dir data
  python -m tfrecords_tools build manifest --manifest pairs.tsv \\
      --text_column premise --text_pair_column hypothesis --label_column relation \\
      --name entailment --output_dir data"""

OPEN_CLIP_ART = """The Open Clip Art drawings with their titles and tags.

They come from the Debian packages openclipart-png and openclipart-svg.

example:
  python -m tfrecords_tools build open_clip_art --output_dir data"""

IMAGE_FOLDER = """Images in folders, with their classes, their captions, or both.

examples:
  python -m tfrecords_tools build image_folder --folder photos --name photos \\
      --output_dir data
  python -m tfrecords_tools build image_folder --folder photos --captions sidecar \\
      --name captioned --output_dir data"""

EXPORT = """Writes the records for other libraries.

examples:
  python -m tfrecords_tools export --data data/pets --to webdataset --output_dir tars
  python -m tfrecords_tools export --data data/pets --to parquet --output_dir tables
  python -m tfrecords_tools export --data data/pets --to image_folder \\
      --output_dir files"""

INSPECT = """What a data directory holds: counts, texts, images, labels, first records.

examples:
  python -m tfrecords_tools inspect --data data/pets/1.0.0
  python -m tfrecords_tools inspect --data data/pets/1.0.0 --json"""

MERGE = """Makes one dataset of several with the same features.

example:
  python -m tfrecords_tools merge --data data/cats data/dogs --name pets \\
      --prefix_ids --output_dir data"""

PREVIEW = """Shows some records on one page: pictures, texts, labels.

example:
  python -m tfrecords_tools preview --data data/pets --output pets.html"""

RESHARD = """Writes the same records into another number of shards.

example:
  python -m tfrecords_tools reshard --data data/pets --num_shards 64 \\
      --output_dir resharded"""

SAMPLE = """Writes some of the records, the same ones each time.

examples:
  python -m tfrecords_tools sample --data data/pets --fraction 0.01 --name few \\
      --output_dir data
  python -m tfrecords_tools sample --data data/pets --per_class 20 --splits train \\
      --name few --output_dir data"""

SENTIMENT = """Sentences and tweets with people's ratings of their sentiment.

They lie in the source archive of the Python package vaderSentiment 0.5.

examples:
  pip download --no-deps --no-binary :all: vaderSentiment==0.5
  python -m tfrecords_tools build sentiment --archive vaderSentiment-0.5.zip \\
      --output_dir data
  python -m tfrecords_tools build sentiment --archive vaderSentiment-0.5.zip \\
      --target class --kinds amazon --name reviews --output_dir data"""

TFDS = """Any dataset of TensorFlow Datasets, by directory or by name.

examples:
  python -m tfrecords_tools build tfds --data ~/tensorflow_datasets/beans/0.1.0 \\
      --image image --label label --name beans --output_dir data
  python -m tfrecords_tools build tfds --data coco_captions --image image \\
      --caption captions.text --id image/filename --name coco --output_dir data
  python -m tfrecords_tools build tfds --data mnist --image image --label label \\
      --splits "train=train[5%:]" "validation=train[:5%]" test --name digits \\
      --output_dir data"""

WEBDATASET = """WebDataset's .tar shards of images with captions or labels.

examples:
  python -m tfrecords_tools build webdataset --shards "train=cc3m-train-*.tar" \\
      --name cc3m --output_dir data
  python -m tfrecords_tools build webdataset --shards "shapes-*.tar" --caption None \\
      --label cls --name shapes --output_dir data"""

VERIFY = """Checks every record of a data directory, and mends what can be mended.

examples:
  python -m tfrecords_tools verify --data data/pets/1.0.0
  python -m tfrecords_tools verify --data data/pets/1.0.0 --repair"""

BUILD = """Builds a data directory from a source.

Any source can be built by the workers of an Apache Beam runner, with the same bytes as
here. Add these flags. It needs kmmft[beam], here and on the workers, who must see the
same files under the same paths. The rows are read and put in order here.
  --runner DirectRunner --runner_options direct_num_workers=8 \\
      direct_running_mode=multi_processing
  --runner FlinkRunner --runner_options flink_master=host:8081 \\
      environment_type=LOOPBACK parallelism=64
  --runner SparkRunner --runner_options spark_master_url=spark://host:7077
  --runner DataflowRunner --runner_options project=mine region=us-central1 \\
      temp_location=gs://mine/tmp sdk_container_image=with-kmmft"""
