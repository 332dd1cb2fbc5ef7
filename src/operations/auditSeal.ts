import {Command} from 'commander'
import {readIdentity} from '../log/history.ts'
import {NotSealed} from '../proof/seal.ts'
import {sealLog} from '../proof/sealLog.ts'
import {type Report, reports, withLog} from './operator.ts'
import {readSealFile} from './takenSeal.ts'

type Options = {extends?: string; publicKey?: boolean}

export const auditSeal = (): Command =>
  reports(
    new Command('seal')
      .description('the Merkle root of the whole log, signed, as a small JSON document to take away')
      .option('--extends <file>', 'an earlier seal: the new one proves that its log begins with that one')
      .option('--public-key', 'print the key that seals are signed with, and seal nothing')
      .addHelpText('after', '\nExample:\n  npm run -s community -- audit seal --extends monday.json > tuesday.json'),
    (options: Options) => (options.publicKey ? printKey() : sealNow(options)),
  )

const printKey = (): Promise<Report> =>
  withLog(async ({signingKey}) => {
    const {publicKey} = await signingKey()
    return {json: {publicKey}, text: `-----BEGIN PUBLIC KEY-----\n${publicKey}\n-----END PUBLIC KEY-----`}
  })

const sealNow = async (options: Options): Promise<Report> => {
  const earlier = options.extends === undefined ? null : await readSealFile(options.extends)
  return withLog(async ({log, pool, signingKey}) => {
    const identity = await readIdentity(log)
    if (identity === null) throw new NotSealed('The log is empty: there is nothing to seal.')
    if (earlier && earlier.identity !== identity)
      throw new NotSealed(`${options.extends} is of log ${earlier.identity}, and this is log ${identity}.`)
    const seal = await sealLog({pool, log, identity, key: await signingKey(), earlier})
    return {json: seal, text: JSON.stringify(seal, null, 2)}
  })
}
