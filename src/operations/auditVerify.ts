import {Command} from 'commander'
import {readIdentity} from '../log/history.ts'
import {NotSealed, type Seal} from '../proof/seal.ts'
import {type Difference, verifyLog} from '../proof/verifyLog.ts'
import {type LogKeeper, type Report, reports, withLog} from './operator.ts'
import {openProgress} from './progress.ts'
import {takenSeal} from './takenSeal.ts'

type Options = {seal?: string; key?: string}

export const auditVerify = (): Command =>
  reports(
    new Command('verify')
      .description('that no sealed event was changed, removed, inserted or moved')
      .option('--seal <file>', 'a seal that was taken away; without it, the last one made here')
      .option('--key <base64>', 'the public key that you trust; without it, the one of this database')
      .addHelpText('after', '\nExample:\n  npm run -s community -- audit verify --seal monday.json'),
    (options: Options) => withLog((keeper) => verifyWith(keeper, options)),
  )

const verifyWith = async (keeper: LogKeeper, options: Options): Promise<Report> => {
  const {log, pool} = keeper
  // A log that lost its beginning is compared all the same.
  const identity = await readIdentity(log).catch(() => null)
  const seal = await sealToCheck(keeper, options, identity)
  const progress = openProgress('verify', BigInt(seal.size), 0n)
  const {held, root, differs} = await verifyLog({pool, log, seal, onPage: progress.advance}).finally(progress.stop)
  const json = {ok: differs === null, size: seal.size, root, seal}
  if (!differs) return {json, text: `All ${seal.size} events are as they were sealed on ${seal.time}.`}
  const {first} = differs
  const text = first
    ? `Log and seal differ. ${sentenceOf(first)}`
    : identity !== seal.identity
      ? `The seal is of log ${seal.identity}; this one is ${identity ?? 'none of ours'}.`
      : held < seal.size
        ? `Log and seal differ: the log holds ${held} events, ${seal.size} were sealed. ${UNKNOWN}`
        : `Log and seal differ. ${UNKNOWN}`
  const difference = first && {...first, position: first.position?.toString() ?? null}
  return {json: {...json, held, difference}, text, failed: true}
}

const UNKNOWN = 'The hashes kept here do not give the root of the seal, so nothing tells where.'

const sealToCheck = async (keeper: LogKeeper, options: Options, identity: string | null): Promise<Seal> => {
  const {seal, name} = await takenSeal(keeper.pool, identity, options.seal)
  const trusted = options.key ?? (await keeper.publicKey())
  if (trusted === null)
    throw new NotSealed(
      `This database has no key for seals: say with --key whose seal you trust. ${name} names ${seal.publicKey}`,
    )
  if (seal.publicKey !== trusted)
    throw new NotSealed(
      `${name} is signed by another key than the one to trust: ${seal.publicKey} instead of ${trusted}`,
    )
  return seal
}

const sentenceOf = ({kind, position, event}: Difference): string => {
  const at = position === null ? 'At its beginning' : `At position ${position}`
  const what = event && `event ${event.id} (${event.type}, revision ${event.revision} of ${event.stream})`
  if (!what) return `${at} and after it events are missing.`
  switch (kind) {
    case 'changed':
      return `${at}, ${what} is not what was sealed.`
    case 'removed':
      return `${at} an event is missing; ${what} follows.`
    case 'inserted':
      return `${at}, ${what} was put in.`
    case 'moved':
      return `${at}, ${what} is not in its place: the order was changed.`
  }
}
