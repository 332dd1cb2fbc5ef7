import {Command, CommanderError} from 'commander'
import {auditCommands} from './auditCommands.ts'
import {backupCommand, restoreCommand} from './backupCommands.ts'
import {doctorCommand} from './doctor.ts'
import {keysCommands} from './keysCommands.ts'
import {logCommands} from './logCopy.ts'
import {WrongUsage} from './operator.ts'
import {projectionsCommands} from './projectionsCommands.ts'
import {usersCommands} from './usersCommands.ts'

/** The command line. Answers with the exit status: 0 done, 1 failed, 2 wrong usage. */
export const runCommandLine = async (argv: readonly string[], serve: () => Promise<void>): Promise<number | null> => {
  let served = false
  const program = new Command('community')
    .description('A community server whose history can be replayed and proven.')
    .usage('<command>')
    .showHelpAfterError()
    .exitOverride()
  program
    .command('serve')
    .description('run the server, as npm start does')
    .action(async () => {
      served = true
      await serve()
    })
  const groups = [
    projectionsCommands,
    auditCommands,
    logCommands,
    usersCommands,
    keysCommands,
    backupCommand,
    restoreCommand,
    doctorCommand,
  ]
  for (const group of groups) program.addCommand(group())
  for (const command of [program, ...program.commands.flatMap((one) => [one, ...one.commands])]) command.exitOverride()
  try {
    await program.parseAsync([...argv], {from: 'user'})
    return served ? null : Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    return error instanceof WrongUsage ? 2 : 1
  }
}
