import type {Pool} from 'pg'
import {findKeyStore, type KeyStore, WrongMasterKey} from '../../keys/keyStore.ts'
import {openPersonKeys} from '../../keys/personKeys.ts'
import type {Secrets} from '../../keys/secrets.ts'
import {type Finding, ok, problem, type Seen, warning} from './finding.ts'

/** So many people's keys are tried: damage and a wrong restore strike more than one. */
const TRIED = 1_000

/** Whether MASTER_KEY opens the keys, and these the keys of people. Gives what it opened, for who reads the log. */
export const checkKeys = async (pool: Pool, secrets: Secrets | null): Promise<Seen<KeyStore | null>> => {
  const {keys, finding} = await open(pool, secrets)
  if (!keys) return {findings: [finding], seen: null}
  const {rows} = await pool.query<{person: string}>(
    'SELECT person FROM keys.people WHERE wrapped IS NOT NULL ORDER BY random() LIMIT $1',
    [TRIED],
  )
  const people = rows.map(({person}) => person)
  const opened = await openPersonKeys({pool, wrappingKey: keys.wrappingKey})
    .find(people)
    .then(
      () => ok(`They open the keys of people (${people.length} tried).`),
      (error: Error) =>
        problem(`${error.message}.`, 'Restore the keys from the newest backup that was made with --keys.'),
    )
  return {findings: [finding, opened], seen: keys}
}

const open = async (pool: Pool, secrets: Secrets | null): Promise<{keys: KeyStore | null; finding: Finding}> => {
  if (secrets === null) {
    const {rowCount} = await pool.query('SELECT FROM keys.secrets')
    return {
      keys: null,
      finding: rowCount
        ? problem(
            'The keys in the database are wrapped by a MASTER_KEY that is not here.',
            'Set MASTER_KEY, or put DATA_DIR/secrets.json back.',
          )
        : ok('There are no keys yet: the first start makes them.'),
    }
  }
  for (const masterKey of [secrets.masterKey, secrets.nextMasterKey]) {
    if (!masterKey) continue
    try {
      const keys = await findKeyStore({pool, masterKey})
      if (!keys) return {keys, finding: ok('There are no keys yet: the first start makes them.')}
      const isNext = masterKey === secrets.nextMasterKey
      return {
        keys,
        finding: isNext
          ? warning(
              'A change of the master key was cut off; the new one opens the keys.',
              'Start the server: it ends it.',
            )
          : ok('MASTER_KEY opens the keys.'),
      }
    } catch (error) {
      if (!(error instanceof WrongMasterKey)) throw error
    }
  }
  return {
    keys: null,
    finding: problem(
      'MASTER_KEY does not open the keys in this database.',
      'Set the MASTER_KEY that they were made with, or restore the keys of a backup that this one opens.',
    ),
  }
}
