import {Command} from 'commander'
import {readConfig} from '../config.ts'
import {backup, restore} from './backup.ts'
import {openDatabase, type Report, reports, withOperator} from './operator.ts'

export const backupCommand = (): Command =>
  reports(
    new Command('backup')
      .argument('<dir>')
      .description('the log, the schema state and uploads on disk; keys only with --keys, into a file of their own')
      .option('--keys <file>', 'where the wrapped keys go: keep it apart, and not for long')
      .addHelpText('after', '\nExample:\n  npm run -s community -- backup /backups/monday --keys /safe/monday.keys'),
    (dir: string, {keys}: {keys?: string}): Promise<Report> =>
      withOperator(async (operator) => {
        const manifest = await backup(operator, dir, keys ?? null)
        const {events, uploads, state} = manifest
        const rows = Object.values(state).reduce((sum, count) => sum + count, 0)
        const text = `${events} events, ${rows} rows of state and ${uploads} uploads are in ${dir}.`
        return {json: manifest, text: keys === undefined ? text : `${text} The keys are in ${keys}.`}
      }),
  )

export const restoreCommand = (): Command =>
  reports(
    new Command('restore')
      .argument('<dir>')
      .description('bring a backup back into an empty database; no server may run')
      .option('--keys <file>', 'the keys of that backup')
      .addHelpText('after', '\nExample:\n  npm run -s community -- restore /backups/monday --keys /safe/monday.keys'),
    async (dir: string, {keys}: {keys?: string}): Promise<Report> => {
      const config = readConfig(process.env)
      const database = await openDatabase(config)
      try {
        const manifest = await restore(config, database.url, dir, keys ?? null)
        return {json: manifest, text: `${manifest.events} events of ${manifest.createdAt} are back. Start the server.`}
      } finally {
        await database.close()
      }
    },
  )
