import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import {Command} from 'commander'
import {eraseUser} from '../commands/eraseUser.ts'
import {isRefusal} from '../domain/event.ts'
import {isSomebody, type UserId} from '../domain/user.ts'
import {readGenerations} from '../projections/generations.ts'
import {tables} from '../projections/tables.ts'
import {userFold, userStream} from '../streams/streams.ts'
import {openUploads} from '../uploads/uploads.ts'
import {openErasure} from './erasures.ts'
import {type Operator, type Report, reports, WrongUsage, withFeed} from './operator.ts'
import {scrub} from './scrub.ts'
import {OPERATOR, writeDown} from './writeDown.ts'

export const usersCommands = (): Command => {
  const users = new Command('users').description('people')
  const erase = users
    .command('erase <id>')
    .description('destroy the key of a person: log and backups no longer yield their data')
    .addHelpText('after', '\nExample:\n  npm run -s community -- users erase email_k3v2mmq7y5d4c6b2a7zj3h5w2e')
  reports(erase, eraseOne)
  return users
}

const eraseOne = (id: string): Promise<Report> => {
  if (!/^(email|discord|reddit)_[a-z2-7]{26}$|^bot_[a-z0-9_-]{1,32}$/.test(id)) {
    throw new WrongUsage(`${id} is not the id of a person: an id is like email_k3v2mmq7y5d4c6b2a7zj3h5w2e`)
  }
  return withFeed(async (operator) => {
    const {mail} = operator.config
    const erasure = openErasure({
      ...operator,
      uploads: await openUploads(operator.config),
      mailDir: 'dir' in mail ? mail.dir : null,
    })
    const correlationId = randomUUID()
    const {state: user} = await operator.execute.load(userStream(id as UserId), userFold, {fresh: true})
    const causationId = isSomebody(user)
      ? await writeDown(operator, {type: 'ErasureOrdered', data: {userId: id}}, {name: 'eraseUser', correlationId})
      : undefined
    const erased = await eraseUser(erasure, id as UserId, {actor: OPERATOR, correlationId, causationId})
    if (isRefusal(erased)) return {json: {ok: false, id}, text: `Nobody has the id ${id}.`, failed: true}
    await untilErased(operator, erased.position)
    const {left} = await scrub(operator.url, operator.pool)
    const rest = left.map((statement) => `  ${statement}`).join('\n')
    const text =
      left.length === 0
        ? `${id} is erased, and the files of the database are cleared.`
        : `${id} is erased. This database user may not clear the files: have a superuser run\n${rest}`
    return {json: {ok: true, id, position: erased.position.toString(), left}, text}
  })
}

/** Every generation that is fed must have let go of the person before the files are cleared. */
const untilErased = async ({pool}: Pick<Operator, 'pool'>, position: bigint): Promise<void> => {
  const until = Date.now() + 30_000
  for (;;) {
    const generations = await readGenerations(pool, tables)
    const fed = generations.filter(({state, fault}) => state !== 'building' && fault === null)
    if (fed.every((one) => (one.position ?? -1n) >= position)) return
    if (Date.now() > until) throw new Error('a read table is too far behind: the person is erased, but run this again')
    await pause(50)
  }
}
