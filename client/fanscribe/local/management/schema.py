"""The part of the GraphQL schema that is emulated, in the schema language."""

SDL = """
type Query {
  myself: User
  serverlessGpuPools: [GpuPool!]!
  podTemplate(id: String!): PodTemplate
}

type Mutation {
  "Without an id it creates. With one it is not sparse: what is left out falls back to its default."
  saveEndpoint(input: EndpointInput!): Endpoint
  deleteEndpoint(id: String!): Boolean
  updateEndpointTemplate(input: UpdateEndpointTemplateInput): Endpoint
  saveTemplate(input: SaveTemplateInput): PodTemplate
  deleteTemplate(templateName: String): Boolean
  saveRegistryAuth(input: SaveRegistryAuthInput): ContainerRegistryAuth
  deleteRegistryAuth(registryAuthId: String!): Boolean
}

type User {
  id: String!
  email: String
  pubKey: String
  maxServerlessConcurrency: Int
  secrets: [Secret!]!
  endpoints: [Endpoint!]!
  endpoint(id: String): Endpoint
  podTemplates: [PodTemplate!]!
  networkVolumes: [NetworkVolume!]!
  containerRegistryCreds: [ContainerRegistryAuth!]!
}

type Secret { id: String! name: String! }
type GpuPool { id: String! gpuTypeIds: [String!]! }
type EnvironmentVariable { key: String! value: String! }
type ContainerRegistryAuth { id: String! name: String! }
type NetworkVolume { id: String! name: String! size: Int! dataCenterId: String! }
type EndpointNetworkVolume { networkVolumeId: String! dataCenterId: String }

type Endpoint {
  id: String!
  name: String!
  type: String!
  userId: String!
  version: Int!
  createdAt: String!
  aiKey: String
  templateId: String!
  template: PodTemplate
  env: [EnvironmentVariable!]!
  gpuIds: String
  gpuCount: Int!
  instanceIds: [String!]!
  computeType: String!
  workersMin: Int!
  workersMax: Int!
  workersStandby: Int!
  locations: String
  networkVolumeId: String
  networkVolumeIds: [EndpointNetworkVolume!]!
  networkVolume: NetworkVolume
  idleTimeout: Int!
  scalerType: String!
  scalerValue: Int!
  executionTimeoutMs: Int!
  minCudaVersion: String
  allowedCudaVersions: String
  flashBootType: String!
  modelReferences: [String!]!
}

type PodTemplate {
  id: String!
  name: String
  imageName: String
  dockerArgs: String
  containerDiskInGb: Int
  volumeInGb: Int
  volumeMountPath: String
  ports: String
  env: [EnvironmentVariable!]!
  isServerless: Boolean
  isPublic: Boolean
  containerRegistryAuthId: String
}

input EnvironmentVariableInput { key: String! value: String! }
input NetworkVolumeIdInput { networkVolumeId: String! dataCenterId: String }

input EndpointTemplateInput {
  name: String
  imageName: String!
  containerDiskInGb: Int
  dockerArgs: String
  env: [EnvironmentVariableInput!]
  ports: String
  containerRegistryAuthId: String
}

input EndpointInput {
  id: String
  name: String
  type: String
  templateId: String
  template: EndpointTemplateInput
  gpuIds: String
  gpuCount: Int
  instanceIds: [String!]
  workersMin: Int
  workersMax: Int
  locations: String
  networkVolumeId: String
  networkVolumeIds: [NetworkVolumeIdInput!]
  idleTimeout: Int
  scalerType: String
  scalerValue: Int
  executionTimeoutMs: Int
  minCudaVersion: String
  allowedCudaVersions: String
  flashBootType: FlashBootType
  modelReferences: [String!]
}

enum FlashBootType { OFF FLASHBOOT PRIORITY_FLASHBOOT }

input UpdateEndpointTemplateInput { endpointId: String! templateId: String! }

input SaveTemplateInput {
  id: String
  name: String!
  imageName: String!
  dockerArgs: String
  containerDiskInGb: Int
  volumeInGb: Int
  volumeMountPath: String
  ports: String
  env: [EnvironmentVariableInput!]
  isServerless: Boolean
  isPublic: Boolean
  containerRegistryAuthId: String
  readme: String
  startSsh: Boolean
  startJupyter: Boolean
}

input SaveRegistryAuthInput { name: String! username: String! password: String! }
"""
