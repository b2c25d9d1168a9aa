complete -c model-archiver -l model-name -d 'The model\'s name; the archive is NAME.mar' -r
complete -c model-archiver -l model-path -d 'The folder with the model\'s files' -r -F
complete -c model-archiver -l handler -d 'The entry point: MODULE or MODULE:FUNCTION' -r
complete -c model-archiver -l runtime -d 'The interpreter of the handler' -r -f -a "python\t'Whatever `python` is on the server; the default'
python2\t'`python2`'
python3\t'`python3`'"
complete -c model-archiver -l export-path -d 'The folder for the archive [default: the current folder]' -r -F
complete -c model-archiver -l archive-format -d 'The format of the archive' -r -f -a "default\t'`NAME.mar`, a zip archive that the server loads'
tgz\t'`NAME.tar.gz`, every path under `NAME/`'
no-archive\t'A folder `NAME/`'"
complete -c model-archiver -s h -l help -d 'Print help'
complete -c model-archiver -s f -l force -d 'Replace an archive of the same name'
complete -c model-archiver -s c -l convert -d 'Refused: converting ONNX models needs Python'
