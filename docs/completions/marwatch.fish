# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_marwatch_global_optspecs
    string join \n log-level= log-format= h/help V/version
end

function __fish_marwatch_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_marwatch_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_marwatch_using_subcommand
    set -l cmd (__fish_marwatch_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c marwatch -n "__fish_marwatch_needs_command" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_needs_command" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_needs_command" -s V -l version -d 'Print version'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "run" -d 'Watch model folders and build what changes, until SIGTERM or Ctrl-C'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "build" -d 'Bring the store up to date in one pass and exit'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "check" -d 'Check the configuration and the models without building anything'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "status" -d 'Show the state of every model, since when, and what is wrong'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "log" -d 'Show the result of each build, removal, rollback and server update'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "history" -d 'List the earlier archives of models that can be put back'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "rollback" -d 'Put an earlier archive of a model back into the store'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "pause" -d 'Stop building and removing a model until `marwatch resume`'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "resume" -d 'Build a model from its folder again, after a rollback or a pause'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "verify" -d 'Read the whole store back and list its problems'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "inspect" -d 'Show what a model archive holds and whether the server accepts it'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "init" -d 'Write a commented configuration to start from'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "new" -d 'Create a model folder that works, to start from'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "schema" -d 'Print the JSON Schema of a file that marwatch writes or reads'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "man" -d 'Print a manual page'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "completions" -d 'Print a shell\'s completion script'
complete -c marwatch -n "__fish_marwatch_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -l server -d 'Management address of a running server, such as http://127.0.0.1:8081. Can be repeated' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -l plain -d 'Log plain lines on a terminal, too'
complete -c marwatch -n "__fish_marwatch_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -l timings -d 'Also print the time of each stage, and the bytes that each model read, compressed, wrote and carried over from its previous archive'
complete -c marwatch -n "__fish_marwatch_using_subcommand build" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -l json -d 'Print one JSON object: problems, models, errors, warnings'
complete -c marwatch -n "__fish_marwatch_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -l store -d 'The model store, instead of a configuration' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -l json -d 'Print one JSON object, or with --follow one per line; `marwatch schema status` describes it'
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -s f -l follow -d 'Keep showing the state, until Ctrl-C'
complete -c marwatch -n "__fish_marwatch_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -s m -l model -d 'Show only records of this model. Can be repeated' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -s n -l lines -d 'Show at most this many of the existing records' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -l store -d 'The model store, instead of a configuration' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -s f -l follow -d 'Keep showing new records, until Ctrl-C'
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -l failed -d 'Show only failures: rejected, failed, unstable, not served'
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -l json -d 'Print the records as JSON, one object per line; `marwatch schema results` describes them'
complete -c marwatch -n "__fish_marwatch_using_subcommand log" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -l json -d 'Print an array of objects: model, live, kept'
complete -c marwatch -n "__fish_marwatch_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -l to -d 'The generation to put back, as `marwatch history` shows it' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand pause" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand pause" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand pause" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand pause" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand pause" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand pause" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand resume" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand resume" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand resume" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand resume" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand resume" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -s c -l config -d 'The configuration file [default: marwatch.yaml in the current folder, if it exists]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -l watch -d 'Drop folder: each of its direct sub-folders is a model. Can be repeated' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -l store -d 'The model store, with --watch [default: model-store in the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -l repair -d 'Rebuild missing and damaged archives from their folders; a damaged archive goes to the history. If a daemon holds the store, the daemon does it'
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -l json -d 'Print one JSON object: archives, history, bytes, problems, repairable'
complete -c marwatch -n "__fish_marwatch_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand inspect" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand inspect" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand inspect" -l entries -d 'List all entries in archive order, not only the 40 largest'
complete -c marwatch -n "__fish_marwatch_using_subcommand inspect" -l json -d 'Print one JSON object: archive, form, bytes, digest, manifest, entries, totals, central_directory, problems'
complete -c marwatch -n "__fish_marwatch_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand init" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand init" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand new" -l in -d 'The parent folder [default: the current folder]' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand new" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand new" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand schema" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand schema" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand man" -l all -d 'Write all pages below this folder, as man1/NAME.1 and man5/NAME.5' -r -F
complete -c marwatch -n "__fish_marwatch_using_subcommand man" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand man" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand completions" -l log-level -d 'Log level: error, warn, info, debug, trace, or a filter such as marwatch::watch=debug [default: RUST_LOG; without it, info for `run` and warn for other commands]' -r
complete -c marwatch -n "__fish_marwatch_using_subcommand completions" -l log-format -d 'Format of the log on standard error [default: text; journal if standard error is connected to systemd\'s journal]' -r -f -a "text\t'Lines for people, in colour on a terminal unless NO_COLOR is set'
json\t'One JSON object per line'
journal\t'Entries of systemd\'s journal, with fields such as MODEL= and OUTCOME='"
complete -c marwatch -n "__fish_marwatch_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "run" -d 'Watch model folders and build what changes, until SIGTERM or Ctrl-C'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "build" -d 'Bring the store up to date in one pass and exit'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "check" -d 'Check the configuration and the models without building anything'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "status" -d 'Show the state of every model, since when, and what is wrong'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "log" -d 'Show the result of each build, removal, rollback and server update'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "history" -d 'List the earlier archives of models that can be put back'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "rollback" -d 'Put an earlier archive of a model back into the store'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "pause" -d 'Stop building and removing a model until `marwatch resume`'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "resume" -d 'Build a model from its folder again, after a rollback or a pause'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "verify" -d 'Read the whole store back and list its problems'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "inspect" -d 'Show what a model archive holds and whether the server accepts it'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "init" -d 'Write a commented configuration to start from'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "new" -d 'Create a model folder that works, to start from'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "schema" -d 'Print the JSON Schema of a file that marwatch writes or reads'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "man" -d 'Print a manual page'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "completions" -d 'Print a shell\'s completion script'
complete -c marwatch -n "__fish_marwatch_using_subcommand help; and not __fish_seen_subcommand_from run build check status log history rollback pause resume verify inspect init new schema man completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
