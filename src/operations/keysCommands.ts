import {randomBytes, randomUUID} from 'node:crypto'
import {Command} from 'commander'
import type {Pool} from 'pg'
import {openKeyStore, rewrapKeys} from '../keys/keyStore.ts'
import {keepNextMasterKey, settleMasterKey} from '../keys/secrets.ts'
import {type Report, reports, withOperator} from './operator.ts'
import {writeDown} from './writeDown.ts'

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
  withOperator(async (operator) => {
    const {pool, config, masterKey} = operator
    const rotated = () =>
      writeDown(operator, {type: 'MasterKeyRotated', data: {}}, {name: 'rotateKeys', correlationId: randomUUID()})
    const next = randomBytes(32)
    const text = next.toString('base64')
    if (config.masterKey === null) {
      await alone(pool, async () => {
        // What the file holds as the next key may be the one in use, where another rotation was cut off just now.
        await openKeyStore({pool, masterKey})
        await keepNextMasterKey(config.dataDir, next)
        await rewrapKeys(pool, masterKey, next)
        await settleMasterKey(config.dataDir, next)
        await rotated()
      })
      return {json: {ok: true, masterKey: null}, text: 'The keys are wrapped with a new master key, kept in DATA_DIR.'}
    }
    process.stderr.write(`The new MASTER_KEY is ${text}\nKeep it before anything else.\n`)
    await rewrapKeys(pool, masterKey, next)
    await rotated()
    return {
      json: {ok: true, masterKey: text},
      text: `MASTER_KEY=${text}\nThe keys are wrapped with it now: set it for every node before its next start.`,
    }
  })

/** Two rotations at once would each keep another next key, and one of them would be lost. */
const alone = async (pool: Pool, work: () => Promise<void>): Promise<void> => {
  const client = await pool.connect()
  try {
    const {rows} = await client.query<{mine: boolean}>(
      `SELECT pg_try_advisory_lock(hashtext('community keys')) AS mine`,
    )
    if (!rows[0]!.mine) throw new Error('Another rotation of the keys is under way.')
    await work()
  } finally {
    // With the connection goes the lock.
    client.release(true)
  }
}
