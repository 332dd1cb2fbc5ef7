import type {Pool} from 'pg'
import type {KeyStore} from '../../keys/keyStore.ts'
import {openPersonKeys} from '../../keys/personKeys.ts'
import {openCodec} from '../../log/codec.ts'
import type {EventLog} from '../../log/eventLog.ts'
import {ForeignLog, openHistory} from '../../log/history.ts'
import {ok, problem, reasonOf, type Seen} from './finding.ts'

/** Whether the log answers, and is the one that belongs to these keys. Gives its identity where it could be told. */
export const checkLog = async (
  log: EventLog,
  {pool, keys}: {pool: Pool; keys: KeyStore | null},
): Promise<Seen<{identity: string | null}>> => {
  const head = await log.head()
  if (head === null) return {findings: [ok('The log is empty: the first start begins it.')], seen: {identity: null}}
  const answers = ok(`The log answers; its newest event is at position ${head}.`)
  if (!keys) return {findings: [answers], seen: {identity: null}}
  try {
    const codec = openCodec(openPersonKeys({pool, wrappingKey: keys.wrappingKey}))
    const identity = await openHistory({log, codec, keyCheck: keys.check})
    return {
      findings: [answers, ok(`It is the history ${identity}, begun with the keys in this database.`)],
      seen: {identity},
    }
  } catch (error) {
    const advice =
      error instanceof ForeignLog
        ? 'Point DATABASE_URL, EVENTSTORE_URL and EVENTSTORE_PREFIX at parts that belong together, or restore the keys.'
        : 'Look at EVENTSTORE_URL and EVENTSTORE_PREFIX, or restore a backup.'
    return {findings: [answers, problem(`${reasonOf(error)}.`, advice)], seen: {identity: null}}
  }
}
