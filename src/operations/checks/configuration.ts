import {stat} from 'node:fs/promises'
import {join} from 'node:path'
import type {Config} from '../../config.ts'
import type {Secrets} from '../../keys/secrets.ts'
import {type Finding, ok, warning} from './finding.ts'

/** `secrets`: null where the first start is to make them. */
export const checkConfiguration = async (config: Config, secrets: Secrets | null): Promise<Finding[]> => {
  const {protocol, hostname} = new URL(config.baseUrl)
  const findings = [ok(`Every variable that is set can be used; people come to ${config.baseUrl}.`)]
  const isHere = hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]'
  if (protocol === 'http:' && !isHere) {
    findings.push(
      warning(
        'BASE_URL begins with http: passwords and cookies cross the network in clear.',
        'Put a proxy with a certificate before the server (deploy/nginx.conf), and set BASE_URL to its https address.',
      ),
    )
  }
  if (protocol === 'https:' && config.trustProxy === false) {
    findings.push(
      warning(
        'BASE_URL is https, so a proxy stands before the server, and TRUST_PROXY is off: limits by IP count all people as one.',
        'Set TRUST_PROXY to the number of proxies, such as 1.',
      ),
    )
  }
  if (secrets === null)
    findings.push(ok('SESSION_SECRET and MASTER_KEY are not there yet: the first start makes them.'))
  else if (config.sessionSecret === null || config.masterKey === null) findings.push(await keptSecrets(config))
  return findings
}

const keptSecrets = async ({dataDir}: Config): Promise<Finding> => {
  const file = join(dataDir, 'secrets.json')
  const {mode} = await stat(file)
  return process.platform !== 'win32' && mode & 0o077
    ? warning(`Others on this machine can read ${file}.`, `Run: chmod 600 ${file}`)
    : ok(`Secrets that the environment does not give are in ${file}; without it nobody can read names and messages.`)
}
