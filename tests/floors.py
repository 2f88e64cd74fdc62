"""Which floor each module stands on, and who alone may import a library."""

FLOORS = {
    0: """
        config errors findings published table_text wheel
    """.split(),
    1: """
        alignment compile_cache cuts data.augment data.averaging data.builders.base
        data.builders.bsd data.builders.dvd data.builders.gopro data.builders.load
        data.builders.pairs data.builders.reds data.cache data.camera data.check
        data.clips data.exposure data.flowcache data.flowfiles data.flowsets
        data.folders data.h264 data.images data.known data.labels data.layers
        data.layouts data.locking data.looks data.motion data.objects
        data.photo_samples data.photos data.pipeline data.prepare data.records
        data.requests data.samples data.scenes data.sheet data.show data.sources
        data.synthesize data.synthetic data.textures data.validation frame_kinds frames
        horizon jobs lanes launch log_lines log_tables loss_scale losses machine
        mappings metrics motion_labels ops.conv ops.correlation ops.resample
        ops.steering ops.unit_range ops.warp outputs pipeline progress report_files
        report_methods schemes state_bytes stopping tables tensor_files
        torch_checkpoint torch_ops torch_steering torch_teacher video.codecs
        video.decoding video.deinterlace video.extras video.hdr video.info
        video.joining video.orientation video.packets video.pixels video.raw
        video.reader video.tags video.writer views
    """.split(),
    2: """
        blocks consistency log_events motion_accuracy mtu network orbax_store
        protocols report report_style report_times stablehlo synthesis.clips
        synthesis.coding synthesis.exposures synthesis.film synthesis.homographies
        synthesis.motion synthesis.resident synthesis.scenes synthesis.sensor
        synthesis.textures teacher teacher_layers tilings totals training_progress
    """.split(),
    3: """
        batches convert convert_teacher evaluation_data evaluation_frames logbook memory
        objectives operations optimized recurrent report_crops report_figures
        report_inputs restorer results snapshots stream teacher_weights tiles
        torch_twin video_sums weights widths
    """.split(),
    4: """
        activity agreement archive checkpoints config_files convert_command deblur
        endpoints evaluation_folder evaluation_tally evaluation_text export
        feature_maps options parallel restoration runfolder settings sinks subjects
        targets timing torch_timing train_flags training
    """.split(),
    5: """
        __main__ arguments bench bench_command bench_text data_arguments
        data_command demo eval_command eval_flags evaluation evaluation_run
        evaluation_settings explain export_command feeds flow_command judging
        lane_steps loop report_command report_motion report_pictures runs scripts
        starting train_command
    """.split(),
}
"""Modules by their floor: each imports from lower ones only, but for `INSIDE`."""

INSIDE = {
    (name, other)
    for name, others in {
        "__main__": """
            arguments bench_command data_command demo explain export_command
            report_command
        """,
        "archive": "training",
        "batches": "recurrent",
        "bench_command": "bench bench_text",
        "checkpoints": "parallel training",
        "config_files": "settings",
        "convert": "weights",
        "convert_command": "agreement",
        "convert_teacher": "convert teacher_weights",
        "data.averaging": "cuts data.exposure data.synthetic video.reader",
        "data.builders.base": "data.folders data.images data.layouts data.sources",
        "data.builders.bsd": "data.builders.base data.layouts",
        "data.builders.dvd": "data.builders.base data.layouts",
        "data.builders.gopro": "data.builders.base data.layouts",
        "data.builders.load": """
            data.builders.bsd data.builders.dvd data.builders.gopro
            data.builders.pairs data.builders.reds data.layouts
        """,
        "data.builders.pairs": "data.builders.base data.layouts",
        "data.builders.reds": "data.builders.base data.layouts",
        "data.cache": "data.folders data.images data.sources",
        "data.check": "data.folders data.images",
        "data.clips": "data.cache data.layouts data.records data.sources",
        "data.flowcache": """
            data.flowfiles data.images data.locking data.motion data.sources outputs
        """,
        "data.flowfiles": "data.motion data.sources frames",
        "data.flowsets": """
            data.cache data.flowcache data.flowfiles data.folders data.layouts
            data.prepare data.sources
        """,
        "data.folders": "data.layouts frames outputs",
        "data.layers": "data.camera data.objects",
        "data.layouts": "data.known",
        "data.looks": """
            data.clips data.exposure data.flowsets data.motion data.objects
            data.photos data.show data.synthetic
        """,
        "data.motion": "data.sources",
        "data.objects": "data.camera",
        "data.photo_samples": """
            data.camera data.clips data.exposure data.images data.objects
            data.photos data.samples data.synthetic
        """,
        "data.photos": "data.exposure data.images data.textures outputs",
        "data.pipeline": """
            data.augment data.clips data.labels data.motion data.samples
            data.sources
        """,
        "data.prepare": """
            data.builders.load data.cache data.check data.folders data.locking
            outputs
        """,
        "data.records": "data.builders.load data.sources",
        "data.requests": """
            data.averaging data.camera data.exposure data.photos data.synthesize
            data.validation
        """,
        "data.samples": "data.clips data.motion data.sources",
        "data.scenes": """
            data.camera data.exposure data.layers data.objects data.textures
        """,
        "data.show": "data.sheet outputs",
        "data.sources": "data.folders data.images",
        "data.synthesize": """
            data.camera data.exposure data.flowfiles data.objects data.synthetic
            outputs
        """,
        "data.synthetic": """
            data.camera data.exposure data.h264 data.layers data.objects data.scenes
            data.textures
        """,
        "data.textures": "data.exposure",
        "data.validation": """
            data.camera data.exposure data.images data.objects data.photos
            data.synthetic
        """,
        "data_command": "arguments data_arguments flow_command",
        "deblur": "endpoints options restoration",
        "eval_command": "eval_flags evaluation scripts",
        "evaluation": "evaluation_run evaluation_settings lane_steps",
        "evaluation_data": "evaluation_frames",
        "evaluation_folder": "evaluation_tally",
        "evaluation_run": "lane_steps",
        "evaluation_settings": "evaluation_run",
        "export": "archive checkpoints runfolder settings training",
        "findings": "errors",
        "flow_command": "data_arguments",
        "frames": "outputs",
        "log_tables": "outputs",
        "loop": "feeds judging",
        "memory": "operations stream tiles",
        "mtu": "blocks",
        "network": "blocks mtu",
        "objectives": "batches recurrent",
        "optimized": "operations weights widths",
        "ops.steering": "ops.resample",
        "options": "endpoints",
        "parallel": "training",
        "report_command": "report_pictures",
        "report_methods": "tables",
        "report_pictures": "report_motion",
        "restoration": "endpoints options targets",
        "restorer": "memory snapshots stream tiles",
        "results": "report_inputs video_sums",
        "runfolder": "parallel",
        "runs": "feeds judging loop starting",
        "scripts": "explain",
        "stablehlo": "network",
        "stream": "snapshots",
        "subjects": "export",
        "synthesis.clips": """
            synthesis.coding synthesis.exposures synthesis.film synthesis.resident
            synthesis.scenes synthesis.sensor
        """,
        "synthesis.exposures": """
            synthesis.homographies synthesis.motion synthesis.scenes
        """,
        "synthesis.film": "synthesis.homographies",
        "synthesis.motion": "synthesis.homographies",
        "synthesis.scenes": """
            synthesis.homographies synthesis.motion synthesis.resident
            synthesis.sensor synthesis.textures
        """,
        "synthesis.sensor": "synthesis.coding synthesis.motion",
        "synthesis.textures": """
            synthesis.film synthesis.homographies synthesis.motion
            synthesis.resident
        """,
        "targets": "endpoints options sinks",
        "teacher": "teacher_layers",
        "tensor_files": "outputs",
        "tiles": "stream",
        "torch_steering": "torch_ops",
        "train_command": "runs scripts",
        "train_flags": "config_files settings",
        "video.codecs": "video.info",
        "video.extras": "video video.tags",
        "video.info": "video.orientation",
        "video.joining": "video.codecs video.extras video.info video.tags video.writer",
        "video.pixels": "video.hdr video.info",
        "video.raw": "video.info video.writer",
        "video.reader": """
            video video.decoding video.deinterlace video.info video.orientation
            video.pixels
        """,
        "video.writer": "video.codecs video.info",
        "weights": "optimized",
    }.items()
    for other in others.split()
}
"""Imports within a floor, which go down as well: (who, whom)."""

ONLY = {
    "absl": "data.pipeline train_flags".split(),
    "array_record": "data.builders.base".split(),
    "av": """
        data.h264 video.decoding video.deinterlace video.extras video.hdr
        video.joining video.packets video.reader video.tags video.writer
    """.split(),
    "etils": "orbax_store runfolder".split(),
    "grain": "data.pipeline".split(),
    "matplotlib": "data.show report_crops report_figures report_style".split(),
    "ml_collections": "config_files train_flags".split(),
    "optax": "objectives schemes training".split(),
    "orbax": "orbax_store".split(),
    "rich": "progress training_progress".split(),
    "tensorboardX": "log_events".split(),
    "tensorflow_datasets": """
        data.builders.base data.builders.pairs data.prepare
    """.split(),
    "torch": """
        torch_checkpoint torch_ops torch_steering torch_teacher torch_timing torch_twin
    """.split(),
    "typer": """
        __main__ bench_command convert_command data_arguments data_command explain
        export_command flow_command report_command
    """.split(),
}
"""Libraries, and the modules that alone may import them."""
