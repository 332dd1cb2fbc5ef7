import {Command} from 'commander'
import {readIdentity} from '../log/history.ts'
import {cloudEventOf} from '../proof/cloudEvent.ts'
import {proveEvent} from '../proof/proveEvent.ts'
import {type Report, reports, WrongUsage, withLog} from './operator.ts'
import {takenSeal} from './takenSeal.ts'

export const auditProve = (): Command =>
  reports(
    new Command('prove')
      .argument('<event>', 'its id or its position')
      .description(
        'that an event is in a sealed log: event, seal and the hashes between, as a JSON document to take away',
      )
      .option('--seal <file>', 'a seal that was taken away; without it, the last one made here')
      .addHelpText('after', '\nExample:\n  npm run -s community -- audit prove 42 > proof.json'),
    prove,
  )

const prove = (named: string, options: {seal?: string}): Promise<Report> => {
  const event = eventNamed(named)
  return withLog(async ({pool, log}) => {
    const identity = await readIdentity(log)
    const {seal} = await takenSeal(pool, identity, options.seal)
    const proof = await proveEvent({pool, log, seal, event})
    if (!proof) return {json: {ok: false, event: named}, text: `The log holds no event ${named}.`, failed: true}
    const {record, index, leaf, path} = proof
    const json = {event: cloudEventOf(record, seal.identity), index, leaf, path, seal}
    return {json, text: JSON.stringify(json, null, 2)}
  })
}

const eventNamed = (named: string): {id: string} | {position: bigint} => {
  if (/^\d{1,19}$/.test(named)) return {position: BigInt(named)}
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(named)) return {id: named.toLowerCase()}
  throw new WrongUsage(`${named} is no event: an event is named by its id, a UUID, or by its position in the log`)
}
