import {randomBytes} from 'node:crypto'
import {Command} from 'commander'
import {rewrapKeys} from '../keys/keyStore.ts'
import {keepNextMasterKey, settleMasterKey} from '../keys/secrets.ts'
import {type Report, reports, withOperator} from './operator.ts'

export const keysCommands = (): Command => {
  const keys = new Command('keys').description('the keys that personal data is sealed with')
  reports(
    keys
      .command('rotate')
      .description('wrap the keys with a new MASTER_KEY; the log stays as it is')
      .addHelpText('after', '\nExample:\n  npm run -s community -- keys rotate'),
    rotate,
  )
  return keys
}

/**
 * Where the master key is the generated one, the new one takes its place in DATA_DIR. Where the environment gives it, the
 * new one is printed before the keys are wrapped with it, and the operator puts it there.
 */
const rotate = (): Promise<Report> =>
  withOperator(async ({pool, config, masterKey}) => {
    const next = randomBytes(32)
    const text = next.toString('base64')
    if (config.masterKey === null) {
      await keepNextMasterKey(config.dataDir, next)
      await rewrapKeys(pool, masterKey, next)
      await settleMasterKey(config.dataDir)
      return {json: {ok: true, masterKey: null}, text: 'The keys are wrapped with a new master key, kept in DATA_DIR.'}
    }
    process.stderr.write(`The new MASTER_KEY is ${text}\nKeep it before anything else.\n`)
    await rewrapKeys(pool, masterKey, next)
    return {
      json: {ok: true, masterKey: text},
      text: `MASTER_KEY=${text}\nThe keys are wrapped with it now: set it for every node before its next start.`,
    }
  })
