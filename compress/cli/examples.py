"""An example of each command, as its --help shows it; tests parse every one."""

EXAMPLES = {
    "run": "compress run efficientnet-lite0-w8a8 --set 'budget.size=5MB'",
    "sweep": "compress sweep efficientnet-lite0-w4 --vary seed=0,1,2",
    "frontier": "compress frontier my-auto.yaml --sizes 2MB:5MB:4",
    "check": "compress check efficientnet-lite0-w8a8 --target rk3588",
    "forecast": "compress forecast runs/efficientnet-lite0-w8a8/artefact --target rpi5",
    "calibrate-target": "compress calibrate-target -o my-machine.yaml",
    "ls": "compress ls",
    "show": "compress show quantize.weights",
    "table": "compress table runs --html runs.html",
    "compare": "compress compare runs/efficientnet-lite0-w8a8 runs/efficientnet-lite0-w4",
    "verify": "compress verify runs/efficientnet-lite0-w8a8/artefact",
    "bench": "compress bench runs/*/artefact --threads 1",
    "schema": "compress schema > recipe.schema.json",
    "export": "compress export gemma-3-270m-w4 --format gguf",
    "translate": 'compress translate runs/gemma-3-270m-w4/artefact --from en --to fr "Good morning."',
    "generate": "compress generate runs/digits-flow-8-steps/artefact --class 3 --num 8 -o out.png",
}
